"""Who serves each device of a machine, chosen at the start and switched while the guest runs."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext, suppress

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Verdict
from ..devmodel.virtqueue import Side
from ..errors import UserError
from ..kvm.bpf import Maps
from ..offload.bpf_backend import BpfBackend
from ..offload.native import HostBackend
from ..offload.objects import LOADING_ERRORS, OffloadError, unavailable
from ..offload.tracing import Tracing
from ..sync.handoff import Declined
from . import process
from .apart import Apart
from .balancing import Balancing

log = logging.getLogger("splitvmm.machine")

MODES = ("on", "host", "off")


class Offloading:
    """The backends of one machine, and which of them has each device."""

    def __init__(self, machine, maps: Maps | None, no_bpf: str):
        """`no_bpf` says why there are no maps, if there are none."""
        self._machine, self.maps, self._no_bpf = machine, maps, no_bpf
        self.choices: dict[str, str] = {}       # device -> how its mode came about
        self.bpf: BpfBackend | None = None
        self.balancing: Balancing | None = None
        self._apart = Apart()
        self._failed: UserError | None = None   # why there is none
        self.host: HostBackend | None = None
        self._loaded: set[tuple[int, str]] = set()      # (device's slot, mode)
        self._later: list[tuple[RegisterDevice, str]] | None = []     # None when all are in their modes
        config = machine.config
        self._tracing = machine.closes(Tracing(machine.name_of, machine.running.failed)) if config.trace else None
        self._log = None
        if config.verifier_log:
            from ..kvm.verifier import LogFile
            self._log = machine.closes(LogFile(config.verifier_log, config.fresh))

    def add(self, device: RegisterDevice, mode: str) -> None:
        """A device and the mode that it starts in.  While the machine is being made that is only begun: handlers load
        while other parts are made, and beside each other."""
        if self._later is None:
            self.choose(device, mode)
            return
        self._later.append((device, mode))
        if self.maps and not self._log and (mode == "on" or (mode == "auto" and not self._one_cpu(device))):
            with suppress(*LOADING_ERRORS):     # which come again, to whoever is to be told
                self.backend("on").begin_load(device)

    def choose_all(self) -> None:
        """All devices in their modes.  Raises UserError."""
        later, self._later = self._later or [], None
        if self.bpf:
            try:
                self.bpf.check()
            except LOADING_ERRORS as error:
                self.bpf, self._failed = None, error
        for device, mode in later:
            self.choose(device, mode)

    @staticmethod
    def _one_cpu(device: RegisterDevice) -> bool:
        """Whether a thread that polls the device's rings would take turns with the guest."""
        return bool(device.uring_queues) and len(os.sched_getaffinity(0)) == 1

    def choose(self, device: RegisterDevice, mode: str) -> None:
        """The mode that a device starts in: `mode`, or with `auto` the best possible."""
        if mode != "auto":
            self.set_mode(device, mode)
            self.choices[device.name] = f"{mode}, as asked"
            return
        refusals, candidates = [], ["on", "host"]
        if self._one_cpu(device):
            candidates.reverse()
            refusals.append("one CPU only, which a polling thread and the guest would take turns on")
        for candidate in candidates:
            has_backend = False
            try:
                has_backend = bool(self.backend(candidate))
                self.set_mode(device, candidate)
                break
            except LOADING_ERRORS as error:
                refusals.append(f"{candidate} not possible: {unavailable(error)}")
                if has_backend:     # the machine can: it is the device's handler that does not load
                    log.warning("%s: offload %s; its handler is not used", device.name, refusals[-1])
        if device.mode != "off" and device.no_ring and device.asynchronous:
            refusals.append(f"no I/O by the handler itself: {device.no_ring}")
        self.choices[device.name] = "; ".join([f"{device.mode}, the best possible", *refusals])

    def set_mode(self, device: RegisterDevice, mode: str) -> None:
        """The vCPUs stand still, or do not run yet.  Raises UserError."""
        if mode not in MODES:
            raise UserError(f"offload {mode!r}; wanted on, host, off or auto")
        if mode == device.mode:
            return
        backend = self.backend(mode)
        if backend and (device.place.slot, mode) not in self._loaded:
            backend.load(device)
            log.debug("%s: handler loaded, for offload %s", device.name, mode)
            self._loaded.add((device.place.slot, mode))
        if device.mode != "off":
            self.backend(device.mode).disable(device)
            if device.mode == "on" and self.host:
                self.registers_move(device)
                self.host.end_assist(device)
            device.mode = "off"
            device.assign(Side.USER)
            device.stop_urings()
        if not backend:
            return
        with process.alone() if mode == "on" else nullcontext():
            self._enable(backend, device)
        if mode == "on" and device.queue_count and device.handler:
            self._assisted(device)
        device.mode = mode
        device.assign(Side.KERNEL)

    @staticmethod
    def _enable(backend, device: RegisterDevice) -> None:
        """All of it, or nothing."""
        try:
            backend.enable(device)
        except BaseException:
            backend.disable(device)
            device.stop_urings()
            raise

    def backend(self, mode: str):
        """What serves devices in this mode, made when first wanted; None for `off`.  Raises OffloadError."""
        if mode == "off":
            return None
        if mode == "host":
            if self.host is None:
                self._make_host()
            return self.host
        if self.bpf is None:
            self._make_bpf()
        return self.bpf

    def _make_host(self) -> None:
        machine = self._machine
        self.host = machine.closes(HostBackend(machine.memory, machine.vm, self._tracing,
                                                 machine.recording and machine.recording.ring))
        for vcpu in machine.vcpus:
            vcpu.loop.hook = vcpu.ffi.cast("write_hook", self.host.hook)
            vcpu.loop.assist = vcpu.ffi.cast("assist_hook", self.host.assist_hook)
            vcpu.loop.path = vcpu.ffi.cast("void *", self.host.context)

    def _assisted(self, device: RegisterDevice) -> None:
        """What its kernel half declines is offered to its native build, if there is one, before it is Python's."""
        try:
            self.backend("host").begin_assist(device)
        except OffloadError as error:
            log.debug("%s: no native build for what its kernel half declines: %s", device.name, unavailable(error))

    def _tick(self) -> None:
        """By the clock, unless devices change hands: that is looked at the next time."""
        machine = self._machine
        if self.bpf and self.bpf.polls:
            self._apart.look(thread.native_id for thread in machine.threads)
        with machine.unless_switching() as free:
            if not free or not self.bpf or not self.host:
                return
            if self.balancing is None:
                self.balancing = Balancing(self.bpf, self.host)
            for device in machine.devices:
                if device.mode == "on" and device.queue_count:
                    with device.lock:
                        if device.place.base is not None:
                            self.balancing.look(device)

    def registers_move(self, device: RegisterDevice) -> None:
        """Or are nobody's any more; under the device's lock, or with nobody who looks."""
        if self.balancing:
            self.balancing.forget(device)

    def assist(self, access: Declined) -> bool:
        """Whether the native build has done what the kernel half declined."""
        return self.host is not None and self.done(*self.host.assist(access))

    def done(self, verdict: int, line: int) -> bool:
        """Whether a write is, by what the native exit path says of it; the line is raised if that asks for it."""
        if verdict in (Verdict.HANDLED_INTERRUPT, Verdict.TO_USER_INTERRUPT):
            self._machine.interrupts.raise_(line)
        return verdict in (Verdict.HANDLED, Verdict.HANDLED_INTERRUPT)

    def _make_bpf(self) -> None:
        machine = self._machine
        if self.maps is None:
            raise OffloadError(self._no_bpf)
        if self._failed:        # what was refused once is refused again
            raise self._failed
        try:
            self.bpf = machine.closes(BpfBackend(self.maps, machine.memory, machine.vm, machine.interrupts,
                                                 machine.config.cpus, machine.called, machine.running.failed,
                                                 self._tick, self._tracing, self._log, machine.recording is not None))
            if self._later is None:     # else `choose_all` does that, as it is still being loaded
                self.bpf.check()
        except LOADING_ERRORS as error:
            self.bpf, self._failed = None, error
            raise

    def before_start(self) -> None:
        """Each vCPU's thread makes itself known to the kernel half as it starts, wanted or not."""
        if self.maps:
            with suppress(*LOADING_ERRORS):
                self.backend("on")
