"""States of a guest that runs: each there and back, on vCPUs of another VM and in the emulator."""

from __future__ import annotations

from dataclasses import dataclass, field

from vmm.devmodel.view import to_dict
from vmm.executors import unicorn_state
from vmm.executors.check import LMA
from vmm.executors.kvm_state import KvmState
from vmm.executors.state import blank, bytes_of, differences
from vmm.executors.transfer import NotTransferable
from vmm.machine.machine import Machine

from .freedom import free_bits
from .trips import Differences, Emulated, Kvm

WORD_BITS = 64
LONG_CODE = 1 << 13     # of the access of cs: bit L


@dataclass
class Sampled:
    """`midway`: not taken, in the midst of an instruction; `waiting`: not emulated, as something was on its way."""

    states: int = 0
    emulated: int = 0
    midway: int = 0
    waiting: int = 0
    differences: list[Differences] = field(default_factory=list)


class Sampler:
    """Of one machine, whose other VM has as much memory, as registers say where in it KVM's clock is."""

    def __init__(self, machine: Machine, memory: int):
        self.machine, self.found = machine, Sampled()
        self._kvm, self._emulated = Kvm(memory, len(machine.vcpus)), Emulated()
        self._vcpus = [KvmState(vcpu) for vcpu in machine.vcpus]
        self._state, self._copy = blank(), blank()

    def sample(self) -> None:
        """All vCPUs, while the guest stands still; it goes on from what came out in the end."""
        with self.machine.running.paused():
            if self.machine.running.status is None:
                for index, vcpu in enumerate(self._vcpus):
                    self._one(index, vcpu)

    def _one(self, index: int, vcpu: KvmState) -> None:
        try:
            vcpu.take(self._state)
        except NotTransferable:
            self.found.midway += 1
            return
        self._through_kvm(index)
        try:
            unicorn_state.refuse(self._state)
        except NotTransferable:
            self.found.waiting += 1
        else:
            self._through_emulator()
        vcpu.give_back(self._copy)

    def _through_kvm(self, index: int) -> None:
        """The vCPU of the same number: what its APIC is called may not be another in x2APIC mode (api.rst, 4.58)."""
        other = self._kvm.vcpus[index]
        other.give(self._state)
        other.take(self._copy)
        self._differ(self._kvm.compared(self._state, self._copy))
        bytes_of(self._copy)[:] = bytes_of(self._state)
        self.found.states += 1

    def _through_emulator(self) -> None:
        self._emulated.free = self._free()
        self._emulated.pass_through(self._copy)
        self._differ(list(differences(self._state, self._copy)))
        self.found.emulated += 1

    def _free(self) -> int:
        """Of 64-bit code; elsewhere all is taken as it is."""
        fields = to_dict(self._state)
        in_long_mode = fields["control"]["efer"] & LMA and fields["segments"]["cs"]["access"] & LONG_CODE
        return free_bits(fields, "long", {}, WORD_BITS) if in_long_mode else 0

    def _differ(self, found: Differences) -> None:
        if found:
            self.found.differences.append(found)

    def close(self) -> None:
        self._emulated.close()
        self._kvm.close()
