"""Where the doorbells of a device are seen whose kernel half is on: in the kernel, or, while most of its requests have
to wait for something, in C, by the native build at once.

To decline a doorbell costs the exit that it spared, and a signal; a device that writes to a file system without NOWAIT
declines each.  So its doorbells leave the kernel, as with offload=host, while all else stays as it is: one state, one
protocol, one lock (vmm/sync/PROTOCOL.md).
"""

from __future__ import annotations

import logging

from ..device.register_device import RegisterDevice
from ..offload.bpf_backend import BpfBackend
from ..offload.native import HostBackend

log = logging.getLogger("splitvmm.machine")

ENOUGH = 64             # requests since the last time, to go by
MOST, FEW = 0.9, 0.5    # of them that waited, from which on doorbells go out; with less they come in again


class Balancing:
    """Of one machine's devices; under the machine's lock of switches, and each device's own."""

    def __init__(self, bpf: BpfBackend, host: HostBackend):
        self._bpf, self._host = bpf, host
        self._seen: dict[int, tuple[int, int]] = {}     # slot -> requests handled, and waited for
        self.out: set[int] = set()                      # slots of devices whose doorbells leave the kernel

    def look(self, device: RegisterDevice) -> None:
        """By the clock, at a device that is on."""
        slot, entries = device.place.slot, [queue.state.entry for queue in device.queues]
        now = sum(entry.handled for entry in entries), sum(entry.waited for entry in entries)
        before = self._seen.setdefault(slot, now)
        handled, waited = (now[i] - before[i] for i in range(2))
        if handled < ENOUGH:
            return
        self._seen[slot] = now
        if slot not in self.out and waited > MOST * handled:
            self._out(device)
        elif slot in self.out and waited < FEW * handled:
            self._bpf.take_doorbells_in(device)
            self.forget(device)
            log.info("%s: doorbells are seen in the kernel again", device.name)

    def _out(self, device: RegisterDevice) -> None:
        """The native build first, so that there is always somebody."""
        self._host.reconnect(device)
        self.out.add(device.place.slot)
        self._bpf.let_doorbells_out(device)
        log.info("%s: most requests wait, so doorbells leave the kernel", device.name)

    def forget(self, device: RegisterDevice) -> None:
        """The device is off, or its registers move: its doorbells are nobody's out here."""
        if device.place.slot in self.out:
            self.out.discard(device.place.slot)
            self._host.disconnect(device)
