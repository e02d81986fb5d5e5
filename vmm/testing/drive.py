"""A device, put into a machine of its own, and driven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Verdict
from ..machine.config import MachineConfig
from ..virtio.virtio_device import INDIRECT_DESC, RING_PACKED, VirtioDevice
from .bpf_run import machine_without_vcpus
from .driver import Driver, Registers

HANDLED, TO_USER = 1, int(Verdict.TO_USER)      # what a write returns: the kernel half did it, or the Python half
MEMORY = 4 << 20


def _config(memory: int, trace: bool) -> MachineConfig:
    return MachineConfig(memory=memory, serial="null", kvm=False, trace=trace)


@contextmanager
def driven(device: RegisterDevice, mode: str = "off", memory: int = MEMORY, trace: bool = False) -> Iterator[Registers]:
    """A register device with offload `mode`, in a machine with `memory` bytes; its registers.  With `trace`,
    what its handler says by trace() goes to the log."""
    with machine_without_vcpus(_config(memory, trace), ((device, mode),)) as machine:
        yield Registers(machine, device)


@contextmanager
def driven_virtio(device: VirtioDevice, mode: str = "off", features: int = INDIRECT_DESC, size: int = 16,
                  memory: int = MEMORY, trace: bool = False) -> Iterator[Driver]:
    """The same of a virtio device: a driver that has negotiated `features` and set up every queue, with
    `size` entries each.  With RING_PACKED among them the rings are packed."""
    if features & RING_PACKED:
        device.offer_packed()
    with machine_without_vcpus(_config(memory, trace), ((device, mode),)) as machine:
        yield Driver(machine, device, features, size)
