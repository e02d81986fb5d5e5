"""Events delivered to a vCPU: interrupts, exceptions and INT, in each mode (SDM 3, 6.10 to 6.14 and 20.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..devmodel.view import View
from ..executors.executor import WITH_ERROR, Stop
from ..executors.state import bytes_of
from .linear import FIVE_LEVELS, Fault, Linear, Physical

DIVIDE, DOUBLE_FAULT, INVALID_TSS, NOT_PRESENT, STACK, PROTECTION, PAGE_FAULT = 0, 8, 10, 11, 12, 13, 14
CONTRIBUTORY = (DIVIDE, INVALID_TSS, NOT_PRESENT, STACK, PROTECTION)        # SDM 3, table 6-4
INT1, INT3, INTO = b"\xf1", b"\xcc", b"\xce"       # instructions of one byte
TRAPS = (1, 3, 4, DOUBLE_FAULT)     # behind the instruction, or that is not run again
TRAP, ENABLED, NESTED, RESUME, VM86, ALIGNMENT = 1 << 8, 1 << 9, 1 << 14, 1 << 16, 1 << 17, 1 << 18     # rflags
TASK_GATE, INTERRUPT_GATE_16, INTERRUPT_GATE_32 = 5, 6, 14      # a trap gate is one more
EXTERNAL, IN_IDT = 1, 2                                         # bits of an error code
UNUSABLE, LONG, BIG = 1 << 16, 1 << 13, 1 << 14                 # of a segment's access
SAVED_OF_VM86 = ("gs", "fs", "ds", "es")                        # as they are pushed (SDM 3, 20.3.1)
PE, LONG_MODE = 1, 1 << 10


class Shutdown(Exception):
    """An exception while a double fault was delivered."""


class NotEmulated(Exception):
    """What a guest may do, and is not done here: says what."""


@dataclass(frozen=True)
class Event:
    """`software`, by INT n, INT3 or INTO, is of an instruction of so many bytes: its gate has to allow that, and rip is
    behind it.  `fault` is of an instruction that is run again, without breakpoints (SDM 3, 18.3.1.1)."""

    vector: int
    error: int | None = None
    software: int = 0
    fault: bool = False


def exception(vector: int, error: int) -> Event:
    return Event(vector, error if vector in WITH_ERROR else None, fault=vector not in TRAPS)


def raised(stop: Stop, before: bytes) -> Event:
    """What an executor stopped for; of an INT, whose instruction rip is behind, by the byte before that."""
    if not stop.is_int:
        return exception(stop.vector, stop.error)
    if before == INT1:
        return Event(stop.vector)
    return Event(stop.vector, software=1 if before in (INT3, INTO) and stop.vector in (3, 4) else 2)


def deliver(state: View, physical: Physical, event: Event) -> None:
    """Have the vCPU be in the handler of an event.  An exception on the way is delivered instead, or a double fault.
    Raises Shutdown, NotEmulated."""
    while True:
        before = bytes_of(state)[:]
        try:
            _deliver(state, Linear(state, physical), event)
            state.events.shadow = 0
            return
        except Fault as fault:
            bytes_of(state)[:] = before
            state.general.rip -= event.software
            if fault.address is not None:
                state.control.cr2 = fault.address
            event = _after(event, fault)


def _after(first: Event, fault: Fault) -> Event:
    """What is delivered when an exception came of delivering another event (SDM 3, table 6-5)."""
    if not first.software and first.vector == DOUBLE_FAULT:
        raise Shutdown(f"exception {fault.vector} while a double fault was delivered")
    serious = fault.vector in CONTRIBUTORY or fault.vector == PAGE_FAULT
    if not first.software and serious and (
            (first.vector in CONTRIBUTORY and fault.vector in CONTRIBUTORY) or first.vector == PAGE_FAULT):
        return Event(DOUBLE_FAULT, 0)
    return exception(fault.vector, fault.error)


def _deliver(state: Any, memory: Linear, event: Event) -> None:
    if not state.control.cr0 & PE:
        _real(state, memory, event.vector)
    elif state.control.efer & LONG_MODE:
        _long(state, memory, event)
    else:
        _protected(state, memory, event)


def _real(state: Any, memory: Linear, vector: int) -> None:
    general, segments = state.general, state.segments
    if 4 * vector + 3 > segments.idt.limit:
        raise Fault(PROTECTION)
    pointer = memory.read(segments.idt.base + 4 * vector, 4)
    stack = _Stack(state, memory, 2)
    stack.push(general.rflags & 0xffff, segments.cs.selector, general.rip & 0xffff)
    stack.leave()
    general.rflags &= ~(ENABLED | TRAP | ALIGNMENT)
    general.rip = pointer & 0xffff
    segments.cs.selector = pointer >> 16
    segments.cs.base = (pointer >> 16) << 4


@dataclass(frozen=True)
class _Descriptor:
    """Of a segment, or a gate's selector (SDM 3, 3.4.5)."""

    selector: int
    word: int

    @property
    def access(self) -> int:
        """As a VcpuState has it."""
        return self.word >> 40 & 0xf0ff

    @property
    def base(self) -> int:
        return self.word >> 16 & 0xffffff | (self.word >> 56 & 0xff) << 24

    @property
    def limit(self) -> int:
        found = self.word & 0xffff | (self.word >> 48 & 0xf) << 16
        return found << 12 | 0xfff if self.word >> 55 & 1 else found

    @property
    def dpl(self) -> int:
        return self.access >> 5 & 3

    @property
    def present(self) -> int:
        return self.access >> 7 & 1

    @property
    def is_code(self) -> bool:
        return self.access & 0x18 == 0x18

    @property
    def conforming(self) -> bool:
        return bool(self.access & 4)

    @property
    def is_writable_data(self) -> bool:
        return self.access & 0x1a == 0x12


def _descriptor(state: Any, memory: Linear, selector: int, vector: int, external: int) -> _Descriptor:
    """Of the GDT or the LDT.  Raises Fault `vector` where there is none."""
    segments = state.segments
    table = segments.ldt if selector & 4 else segments.gdt
    missing = selector & 4 and segments.ldt.access & UNUSABLE
    if not selector & ~3 or missing or (selector | 7) > table.limit:
        raise Fault(vector, selector & ~3 | external)
    return _Descriptor(selector, memory.read(table.base + (selector & ~7), 8))


def _cpl(state: Any) -> int:
    return 3 if state.general.rflags & VM86 else state.segments.ss.access >> 5 & 3


@dataclass(frozen=True)
class _Gate:
    selector: int
    offset: int
    kind: int       # of INTERRUPT_GATE_*, or one more
    stack: int      # of an interrupt stack table

    @property
    def masks(self) -> bool:
        return not self.kind & 1


def _gate(state: Any, memory: Linear, event: Event, size: int, kinds: tuple[int, ...]) -> _Gate:
    idt, external = state.segments.idt, 0 if event.software else EXTERNAL
    code = event.vector << 3 | IN_IDT
    if size * event.vector + size - 1 > idt.limit:
        raise Fault(PROTECTION, code | external)
    word = memory.read(idt.base + size * event.vector, size)
    kind = word >> 40 & 0x1f
    if kind == TASK_GATE and TASK_GATE in kinds:
        raise NotEmulated(f"a task gate at vector {event.vector}; wanted interrupt or trap gates")
    if kind not in kinds or (event.software and word >> 45 & 3 < _cpl(state)):
        raise Fault(PROTECTION, code | external)
    if not word >> 47 & 1:
        raise Fault(NOT_PRESENT, code | external)
    offset = word & 0xffff | word >> 32 & 0xffff0000
    if kind < INTERRUPT_GATE_32 - 1:
        offset &= 0xffff
    return _Gate(word >> 16 & 0xffff, offset | (word >> 64 & 0xffffffff) << 32, kind, word >> 32 & 7)


def _handler(state: Any, memory: Linear, gate: _Gate, external: int) -> tuple[_Descriptor, int]:
    """The handler's code segment, and the privilege level that it runs at."""
    code, cpl = _descriptor(state, memory, gate.selector, PROTECTION, external), _cpl(state)
    if not code.is_code or code.dpl > cpl:
        raise Fault(PROTECTION, gate.selector & ~3 | external)
    if not code.present:
        raise Fault(NOT_PRESENT, gate.selector & ~3 | external)
    level = cpl if code.conforming else code.dpl
    if state.general.rflags & VM86 and level:
        raise Fault(PROTECTION, gate.selector & ~3 | external)
    return code, level


def _enter(state: Any, code: _Descriptor, level: int, gate: _Gate) -> None:
    segments = state.segments
    segments.cs.selector = code.selector & ~3 | level
    segments.cs.base, segments.cs.limit, segments.cs.access = code.base, code.limit, code.access | 1    # accessed
    state.general.rip = gate.offset
    state.general.rflags &= ~(TRAP | VM86 | RESUME | NESTED | (ENABLED if gate.masks else 0))


def _canonical(state: Any, address: int) -> bool:
    """SDM 1, 3.3.7.1."""
    bits = 57 if state.control.cr4 & FIVE_LEVELS else 48
    return address >> bits - 1 in (0, (1 << 65 - bits) - 1)


class _Stack:
    """Where an event's words go: `width` bytes each.  Nothing moves before `leave`."""

    def __init__(self, state: Any, memory: Linear, width: int, segment: Any = None, pointer: int | None = None):
        self._state, self._memory, self._width = state, memory, width
        self._base = segment.base if segment else state.segments.ss.base
        self._limit = segment.limit if segment else state.segments.ss.limit
        access = segment.access if segment else state.segments.ss.access
        self._long = bool(state.control.efer & LONG_MODE)
        self._mask = (1 << 64) - 1 if self._long else 0xffffffff if access & BIG else 0xffff
        self._down = access & 0xc == 4      # it expands down: its limit is below
        self._pointer = state.general.rsp if pointer is None else pointer

    def push(self, *words: int) -> None:
        for word in words:
            at = self._pointer - self._width & self._mask
            if self._long and not all(_canonical(self._state, each) for each in (at, at + self._width - 1)):
                raise Fault(STACK, EXTERNAL)
            if not self._long and (at + self._width - 1 > self._limit) != self._down:
                raise Fault(STACK, EXTERNAL)
            base = 0 if self._long else self._base
            self._memory.write(base + at, self._width, word & (1 << 8 * self._width) - 1)
            self._pointer = self._pointer & ~self._mask | at

    def leave(self) -> None:
        self._state.general.rsp = self._pointer


def _protected(state: Any, memory: Linear, event: Event) -> None:
    general, segments, external = state.general, state.segments, 0 if event.software else EXTERNAL
    gate = _gate(state, memory, event, 8, (TASK_GATE, INTERRUPT_GATE_16, INTERRUPT_GATE_16 + 1, INTERRUPT_GATE_32,
                                           INTERRUPT_GATE_32 + 1))
    code, level = _handler(state, memory, gate, external)
    width = 4 if gate.kind >= INTERRUPT_GATE_32 else 2
    flags, vm86 = general.rflags | (RESUME if event.fault else 0), general.rflags & VM86
    old = [flags, segments.cs.selector, general.rip, *([] if event.error is None else [event.error])]
    if level == _cpl(state):
        stack = _Stack(state, memory, width)
        stack.push(*old)
        stack.leave()
    else:
        selector, pointer = _inner_stack(state, memory, level, external)
        segment = _stack_segment(state, memory, selector, level, external)
        stack = _Stack(state, memory, width, segment, pointer)
        data = [getattr(segments, name).selector for name in SAVED_OF_VM86] if vm86 else []
        stack.push(*data, segments.ss.selector, general.rsp, *old)
        segments.ss.selector, segments.ss.base = selector, segment.base
        segments.ss.limit, segments.ss.access = segment.limit, segment.access | 1
        stack.leave()
    if vm86:
        for name in SAVED_OF_VM86:
            _clear(getattr(segments, name))
    _enter(state, code, level, gate)


def _clear(segment: Any) -> None:
    segment.selector = segment.base = segment.limit = 0
    segment.access = UNUSABLE


def _inner_stack(state: Any, memory: Linear, level: int, external: int) -> tuple[int, int]:
    """(ss, esp) of a TSS for a privilege level (SDM 3, 7.2.1)."""
    tr = state.segments.tr
    wide = tr.access & 0xf in (9, 11)
    at, size = (4 + 8 * level, 4) if wide else (2 + 4 * level, 2)
    if at + 2 * size - 1 > tr.limit:
        raise Fault(INVALID_TSS, tr.selector & ~3 | external)
    return memory.read(tr.base + at + size, 2), memory.read(tr.base + at, size)


def _stack_segment(state: Any, memory: Linear, selector: int, level: int, external: int) -> _Descriptor:
    found = _descriptor(state, memory, selector, INVALID_TSS, external)
    if selector & 3 != level or found.dpl != level or not found.is_writable_data:
        raise Fault(INVALID_TSS, selector & ~3 | external)
    if not found.present:
        raise Fault(STACK, selector & ~3 | external)
    return found


def _long(state: Any, memory: Linear, event: Event) -> None:
    """SDM 3, 6.14."""
    general, segments, external = state.general, state.segments, 0 if event.software else EXTERNAL
    gate = _gate(state, memory, event, 16, (INTERRUPT_GATE_32, INTERRUPT_GATE_32 + 1))
    code, level = _handler(state, memory, gate, external)
    if code.access & (LONG | BIG) != LONG:
        raise Fault(PROTECTION, gate.selector & ~3 | external)
    inner = level < _cpl(state)
    pointer = _long_stack(state, memory, gate, level, external) if gate.stack or inner else general.rsp
    stack = _Stack(state, memory, 8, pointer=pointer & ~0xf)
    flags = general.rflags | (RESUME if event.fault else 0)
    stack.push(segments.ss.selector, general.rsp, flags, segments.cs.selector, general.rip,
               *([] if event.error is None else [event.error]))
    stack.leave()
    if inner:
        segments.ss.selector, segments.ss.base, segments.ss.limit = level, 0, 0
        segments.ss.access = UNUSABLE | level << 5
    _enter(state, code, level, gate)


def _long_stack(state: Any, memory: Linear, gate: _Gate, level: int, external: int) -> int:
    """rsp of a 64-bit TSS (SDM 3, 7.7)."""
    tr = state.segments.tr
    at = 0x24 + 8 * (gate.stack - 1) if gate.stack else 4 + 8 * level
    if at + 7 > tr.limit:
        raise Fault(INVALID_TSS, tr.selector & ~3 | external)
    found = memory.read(tr.base + at, 8)
    if not _canonical(state, found):
        raise Fault(STACK, external)
    return found
