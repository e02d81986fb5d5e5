"""What KVM refuses to emulate, an emulator does: one instruction, and the vCPU is KVM's again.

KVM gives up on an instruction of a kind that it has no emulation for (KVM_EXIT_INTERNAL_ERROR, suberror 1): one of SSE
that reads a device's register, say; and where it emulates a whole mode in software, on more.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..devmodel.view import View
from ..kvm.bus import AddressSpace
from ..kvm.vm import Vcpu
from .executor import Accesses, Stop, Why
from .guest_map import BESIDE_KVM, guest_map
from .instructions import MOST_BYTES, aligned_operand, decoded, done_otherwise, is_atomic, mode_of
from .kvm_state import KvmState
from .state import blank
from .transfer import NotTransferable
from .unicorn_cpu import UnicornCpu

EMULATION = 1                       # KVM_INTERNAL_ERROR_EMULATION
TRAP, RESUME = 1 << 8, 1 << 16      # rflags: an exception after each instruction; none for the next one
DEBUG, GENERAL_PROTECTION = 1, 13   # vectors
WITH_ERROR = (8, 10, 11, 12, 13, 14, 17, 21, 29, 30)    # SDM 3, table 6-1; 29 and 30: APM 2, table 8-1
BLOCKS = 4                          # an instruction ends one; a string instruction may be several


class Refused:
    """One vCPU's; on its thread."""

    def __init__(self, vcpu: Vcpu, mmio: AddressSpace, accesses: Accesses, others: bool):
        """`others`: there are other vCPUs."""
        self.vcpu, self._mmio, self._others = vcpu, mmio, others
        self.cpu = UnicornCpu(accesses, on_moved=self._map)
        self._kvm, self._state = KvmState(vcpu), blank()
        self.done: Counter[int] = Counter()         # instructions, by their linear address
        self._map()
        vcpu.vm.on_moved.append(self.cpu.moved)

    def _map(self) -> None:
        self.cpu.map(*guest_map(self.vcpu.vm.slots.values(), self._mmio, BESIDE_KVM))

    def do(self) -> str | None:
        """Have the instruction done that KVM has refused: None, or why it cannot be."""
        state, cs = self._state, self._state.segments.cs
        try:
            self._kvm.take(state)
            linear = state.general.rip + cs.base
            stop = self._misaligned(state, linear) or self._step(state)
            if why := _not_done(stop):
                return why
            if stop.vector != DEBUG:
                _raise(state, stop)
            self._kvm.give(state)
        except NotTransferable as error:
            return f"not given to the emulator: {error}"
        self.done[linear] += 1
        return None

    def _misaligned(self, state: View, linear: int) -> Stop | None:
        """An exception that Unicorn does not raise: #GP of an operand that has to be aligned (SDM 1, 10.4.1.1);
        and what is refused by name.  Raises NotTransferable."""
        self.cpu.give(state)
        instruction = decoded(self.cpu.code(linear, MOST_BYTES), linear, mode_of(state))
        if instruction is None:
            return None
        if is_atomic(instruction) and self._others:
            raise NotTransferable(f"{instruction.mnemonic}; wanted no atomic one, as other vCPUs run meanwhile")
        if wrong := done_otherwise(instruction):
            raise NotTransferable(f"{instruction.mnemonic} {instruction.op_str}: Unicorn would have {wrong}; wanted one "
                                  "that it does as a CPU")
        address = aligned_operand(instruction, state)
        return Stop(Why.EXCEPTION, GENERAL_PROTECTION) if address is not None and address % 16 else None

    def _step(self, state: View) -> Stop:
        """One instruction.  A trap ends it, of which nothing is left in the state."""
        flags, dr6 = state.general.rflags, state.debug.dr6
        state.general.rflags |= TRAP
        self.cpu.written()
        stop = self.cpu.run(state, BLOCKS)
        if self.cpu.error:
            raise self.cpu.error
        state.general.rflags = state.general.rflags & ~(TRAP | RESUME) | flags & TRAP
        state.debug.dr6 = dr6
        return stop

    def counters(self) -> dict[str, Any]:
        return {"instructions": self.done.total(), "places": len(self.done)}

    def close(self) -> None:
        self.vcpu.vm.on_moved.remove(self.cpu.moved)
        self.cpu.close()


def _not_done(stop: Stop) -> str:
    """Why the vCPU cannot go on behind the instruction, or in an exception of it."""
    if stop.why != Why.EXCEPTION:
        return f"the emulator stopped for another reason: {stop.why.name.lower()}"
    if stop.is_int:
        return f"the emulator delivers no INT {stop.vector}"
    return ""


def _raise(state: View, stop: Stop) -> None:
    """Have KVM deliver the exception that came of it (api.rst, KVM_SET_VCPU_EVENTS)."""
    events = state.events
    events.exception_injected, events.exception_nr = 1, stop.vector
    events.exception_has_error = int(stop.vector in WITH_ERROR)
    events.exception_error = stop.error if events.exception_has_error else 0
