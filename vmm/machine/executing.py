"""Which executors run a machine's vCPUs (vmm/executors/): KVM, an emulator beside it, or the emulator alone."""

from __future__ import annotations

from typing import Any

from ..devmodel.exit_path import Bus
from ..errors import UserError
from ..kvm.vcpu import VcpuThread
from ..kvm.vm import Vcpu

MASKS = [(1 << 8 * width) - 1 for width in range(9)]
MISSING = "the emulator's packages are not installed ({error}); wanted `pip install 'splitvmm[emulator]'`"


class VcpuAccesses:
    """Accesses of one vCPU's that an emulator runs: to the buses, as those of KVM's exits go."""

    def __init__(self, machine, vcpu: Vcpu | None = None):
        buses = [machine.buses[bus] for bus in Bus]
        self._reads, self._writes = [bus.read for bus in buses], [bus.write for bus in buses]
        self._vcpu, self.raise_ = vcpu, machine.interrupts.raise_

    def read(self, bus: int, address: int, width: int) -> int:
        if self._vcpu and self._vcpu.coalesced:     # what KVM has yet to tell comes first
            self._vcpu.coalesced.drain()
        return self._reads[bus](address, width) & MASKS[width]

    def write(self, bus: int, address: int, width: int, value: int) -> None:
        if self._vcpu and self._vcpu.coalesced:
            self._vcpu.coalesced.drain()
        self._writes[bus](address, width, value)

    def cpuid(self, leaf: int, index: int) -> tuple[int, int, int, int]:
        raise AssertionError("KVM's own")


def emulated_vm(cpus: int):
    """What stands for KVM's.  Raises UserError."""
    try:
        from ..emulated.vm import EmulatedVm
        from ..executors import unicorn_cpu  # noqa: F401
    except ImportError as error:
        raise UserError(f"--executor emulator: {MISSING.format(error=error)}") from None
    return EmulatedVm(cpus)


def vcpu(machine, index: int):
    """A vCPU of the machine's."""
    config = machine.config
    if config.has_exits:
        return Vcpu(machine.vm, index, config.cpus)
    from ..emulated.vcpu import EmulatedVcpu
    return EmulatedVcpu(machine.vm, index, config.cpus, machine.buses[Bus.MMIO], VcpuAccesses(machine))


def kind_of_thread(config) -> type:
    """What runs a vCPU's loop."""
    if config.has_exits:
        return VcpuThread
    from ..emulated.thread import EmulatedThread
    return EmulatedThread


def begin(machine) -> None:
    """Beside KVM, as the configuration says.  Raises UserError."""
    config = machine.config.executor
    if config.name != "auto" or not machine.vcpus:
        return
    try:
        from ..emulated.interrupt import interrupt
        from ..executors.beside import Beside
        from ..executors.partial import BY_ITSELF, Partial
    except ImportError as error:
        raise UserError(f"--executor {config.name}: {MISSING.format(error=error)}") from None
    for vcpu in machine.vcpus:
        machine.beside.append(machine.closes(Beside(vcpu, machine.buses[Bus.MMIO], VcpuAccesses(machine, vcpu),
                                                     len(machine.vcpus) > 1, interrupt)))
    if config.blocks == 0:
        return
    for vcpu in machine.vcpus:
        machine.partial.append(machine.closes(Partial(
            vcpu, machine.buses[Bus.MMIO], VcpuAccesses(machine, vcpu),
            BY_ITSELF if config.blocks is None else config.blocks, machine.running.failed)))


def counters(machine) -> list[dict[str, Any]]:
    """Of each vCPU that an emulator helps: what KVM refused, and what was run on."""
    found = [{"vcpu": each.vcpu.index, "whole": each.counters()} for each in machine.beside]
    return [one | (machine.partial[i].counters() if machine.partial else {}) for i, one in enumerate(found)]
