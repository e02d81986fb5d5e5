"""An emulator beside KVM that is given the whole state of a vCPU, and gives it back: for an instruction that KVM
refuses, or for some basic blocks from wherever the vCPU is.

KVM gives up on an instruction of a kind that it has no emulation for (KVM_EXIT_INTERNAL_ERROR, suberror 1): one of SSE
that reads a device's register, say; and where it emulates a whole mode in software, on more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from ..devmodel.view import View
from ..kvm.bus import AddressSpace
from ..kvm.slots import Slot
from ..kvm.vm import Vcpu
from .executor import WITH_ERROR, Accesses, Stop, Why
from .features import HINTS, Features
from .guest_map import BESIDE_KVM
from .instructions import MOST_BYTES, aligned_operand, decoded, done_otherwise, is_atomic, is_segmented, mode_of
from .kvm_state import KvmState
from .partial import KERNEL_PORTS
from .state import blank
from .transfer import NotTransferable
from .unicorn_cpu import UnicornCpu

# delivers an INT: of a state, with the byte before rip, in this memory; why it cannot, or ""
Interrupt = Callable[[View, Stop, bytes, Iterable[Slot]], str]
INVALID_OPCODE, GENERAL_PROTECTION = 6, 13      # vectors
MOST_PLACES = 1024


class Refusals:
    """How many instructions KVM refused, by their linear address; of those where it refused least there are as many as
    a guest likes, so they are counted together."""

    def __init__(self, most: int = MOST_PLACES):
        self.at: Counter[int] = Counter()
        self.others, self._most = 0, most

    def add(self, linear: int) -> None:
        self.at[linear] += 1
        if len(self.at) > 2 * self._most:       # and not sooner, as to sort them takes a while
            kept = Counter(dict(self.at.most_common(self._most)))
            self.others += self.at.total() - kept.total()
            self.at = kept

    def counters(self) -> dict[str, int]:
        """`places` are those that are still known, `others` the instructions elsewhere."""
        at, others = self.at, self.others
        return {"instructions": at.total() + others, "places": len(at), "others": others}


class Beside:
    """One vCPU's; on its thread but where told otherwise."""

    def __init__(self, vcpu: Vcpu, mmio: AddressSpace, accesses: Accesses, others: bool, interrupt: Interrupt):
        """`others`: there are other vCPUs.  `interrupt` delivers INT instructions."""
        self._interrupt = interrupt
        self.vcpu, self._mmio, self._accesses, self._others = vcpu, mmio, accesses, others
        self.made: list[UnicornCpu] = []
        self._kvm, self._state = KvmState(vcpu), blank()
        self.done = Refusals()
        self.visits = self.ran = self.occupied = 0  # runs, their basic blocks; not run: something was on its way
        self._asked = 0

    @cached_property
    def _features(self) -> Features:
        return Features(self.vcpu.vm.supported_cpuid())

    @cached_property
    def one(self) -> UnicornCpu:
        """For an instruction, whatever it is; made when there is one."""
        return self._made(UnicornCpu(self._accesses))

    @cached_property
    def many(self) -> UnicornCpu:
        """For basic blocks that may run beside KVM."""
        return self._made(UnicornCpu(self._accesses, guarded=True, kernel_ports=KERNEL_PORTS))

    def _made(self, cpu: UnicornCpu) -> UnicornCpu:
        self.made.append(cpu)
        cpu.follow(self.vcpu, self._mmio, BESIDE_KVM)
        return cpu

    # some basic blocks, from wherever it is

    def ask(self, blocks: int) -> None:
        """Any thread: `run_asked` is to run so many."""
        self._asked = blocks

    def run_asked(self) -> None:
        """What was asked for, when the vCPU has come out of KVM_RUN."""
        if blocks := self._asked:
            self._asked = 0
            self.run(blocks)

    def run(self, blocks: int) -> Stop | None:
        """Up to so many basic blocks of what is as KVM does it (blocks.py); None where something is on its way into the
        vCPU that is KVM's to bring there, or limits and kinds of segments count.  Raises what a device does."""
        state = self._state
        try:
            self._kvm.take(state)
            if is_segmented(state):
                self.occupied += 1
                return None
            self.many.written()
            stop = self.many.run(state, blocks)
        except NotTransferable:
            self.occupied += 1
            return None
        if self.many.error:
            raise self.many.error
        self._kvm.give_back(state)
        self.visits += 1
        self.ran += self.many.emulator.ran
        return stop

    # an instruction that KVM refuses

    def do(self) -> str | None:
        """Have the instruction done that KVM has refused: None, or why it cannot be."""
        state, cs = self._state, self._state.segments.cs
        try:
            self._kvm.take(state)
            _forget_refusal(state)
            linear = state.general.rip + cs.base
            if (stop := self._known(state, linear)) is None:
                stop = self._step(state)
                if stop.why == Why.EXCEPTION and stop.vector == INVALID_OPCODE and not stop.is_int:
                    return "the emulator does not know it either"
            if why := self._not_done(stop, state):
                return why
            self._kvm.give_back(state)
        except NotTransferable as error:
            return f"not given to the emulator: {error}"
        self.done.add(linear)
        return None

    def _not_done(self, stop: Stop, state: View) -> str:
        """Why the vCPU cannot go on behind the instruction, or in what it raised: "" if it can."""
        if stop.why not in (Why.BUDGET, Why.EXCEPTION):
            return f"the emulator stopped for another reason: {stop.why.name.lower()}"
        if stop.why == Why.BUDGET:
            return ""
        if stop.is_int:
            behind = state.segments.cs.base + state.general.rip
            return self._interrupt(state, stop, self.one.code(behind - 1, 1), self.vcpu.vm.slots.values())
        _raise(state, stop)
        return ""

    def _known(self, state: View, linear: int) -> Stop | None:
        """What it comes to where Unicorn does not know: #UD of what the guest's CPU has not, #GP of an operand that has
        to be aligned (SDM 1, 10.4.1.1), nothing of a hint; what is refused is so by name.  Raises NotTransferable."""
        self.one.give(state)
        code = self.one.code(linear, MOST_BYTES)
        instruction = decoded(code, linear, mode_of(state))
        if self._features.lack(code, instruction, state.control.cr4):
            return Stop(Why.EXCEPTION, INVALID_OPCODE)
        if instruction is None:
            return None
        if instruction.mnemonic in HINTS:
            state.general.rip += instruction.size
            return Stop(Why.BUDGET)
        return self._misaligned(instruction, state)

    def _misaligned(self, instruction: Any, state: View) -> Stop | None:
        """#GP where it is so.  Raises NotTransferable for what is not to be done here."""
        if is_atomic(instruction) and self._others:
            raise NotTransferable(f"{instruction.mnemonic}; wanted no atomic one, as other vCPUs run meanwhile")
        if wrong := done_otherwise(instruction):
            raise NotTransferable(f"{instruction.mnemonic} {instruction.op_str}: Unicorn would have {wrong}; wanted "
                                  "one that it does as a CPU")
        address = aligned_operand(instruction, state)
        return Stop(Why.EXCEPTION, GENERAL_PROTECTION) if address is not None and address % 16 else None

    def _step(self, state: View) -> Stop:
        self.one.written()
        stop = self.one.step(state)
        if self.one.error:
            raise self.one.error
        return stop

    def counters(self) -> dict[str, Any]:
        """Instructions that KVM refused, and at how many places; visits that were asked for, and their blocks."""
        return {**self.done.counters(), "visits": self.visits, "blocks": self.ran, "occupied": self.occupied}

    def close(self) -> None:
        for cpu in self.made:
            cpu.close()


def _forget_refusal(state: View) -> None:
    """The #UD that KVM queues as it gives up (handle_emulation_failure, arch/x86/kvm/x86.c)."""
    if state.events.exception_injected and state.events.exception_nr == INVALID_OPCODE:
        state.events.exception_injected = 0


def _raise(state: View, stop: Stop) -> None:
    """Have KVM deliver the exception that came of it (api.rst, KVM_SET_VCPU_EVENTS)."""
    events = state.events
    events.exception_injected, events.exception_nr = 1, stop.vector
    events.exception_has_error = int(stop.vector in WITH_ERROR)
    events.exception_error = stop.error if events.exception_has_error else 0
