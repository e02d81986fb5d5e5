"""What a machine has, in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Bus
from ..virtio.virtio_device import VirtioDevice

log = logging.getLogger("splitvmm.machine")


def tell(machine) -> None:
    """Log it, at level info."""
    if log.isEnabledFor(logging.INFO):
        for line in lines(machine):
            log.info("%s", line)


def lines(machine) -> Iterator[str]:
    """One of the machine, and one for each of its devices."""
    yield (f"machine: {_size(machine.config.memory)} of memory, {_counted(len(machine.vcpus), 'vCPU')}, "
           f"{_counted(len(machine.devices), 'device')}")
    for device in machine.devices:
        yield f"{device.name}: {_place(device)}, offload {device.mode}"


def _place(device: RegisterDevice) -> str:
    """Where the guest finds a device, and what it interrupts by."""
    place = device.place
    if isinstance(device, VirtioDevice) and device.transport.on_pci:
        return (f"PCI 00:{device.transport.function.number:02x}.0, {_bar(place.base)}, "
                f"{_counted(len(place.lines), 'message')} (MSI-X)")
    return f"{'port' if place.bus is Bus.PORT else 'registers at'} {place.base:#x}, interrupt {place.lines[0].gsi}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(count: int) -> str:
    """Bytes in the largest unit that they are a whole number of."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return f"{count} bytes"


def _bar(base: int | None) -> str:
    return "BAR for firmware to place" if base is None else f"BAR at {base:#x}"
