"""Model-specific registers that Unicorn has not, or not as a machine with local APICs has them: RDMSR and WRMSR of them
are done here, of the others by Unicorn itself."""

from __future__ import annotations

from typing import Any

from ..executors._emulator import lib
from .linear import Fault

RDMSR, WRMSR = 0x32, 0x30           # behind 0f
PREFIXES = bytes([0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, *range(0x40, 0x50)])
PROTECTION = 13
TSC, APIC_BASE, X2APIC, DEADLINE = 0x10, 0x1b, range(0x800, 0x900), 0x6e0
WORD, HALF = (1 << 64) - 1, 0xffffffff
# What Unicorn has (SDM 4; APM 2): SYSENTER's, memory types, features, SYSCALL's, bases
OF_UNICORN = frozenset([
    0xfe, 0x174, 0x175, 0x176, 0x1a0, *range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x277, 0x2ff,
    *range(0xc0000080, 0xc0000085), *range(0xc0000100, 0xc0000104)])
# What reads as 0, and takes writes, as KVM has them for guests that do not ask whether they are there
NOTHING = frozenset([
    0x17, 0x2a, 0x33, 0x34, 0x3a, 0x3b, 0x79, 0x8b, 0xce, 0x140, 0x179, 0x17a, 0x17b, 0x198, 0x199, 0x19a, 0x1d9, 0x1db,
    0x1dc, 0x1dd, 0x1de, 0x1fc, 0xc0010015, 0xc001001f, 0xc0010112, 0xc0010113, 0xc0010114, 0xc0010117, 0xc0011022,
    0xc0011029])


def access_of(code: bytes, wide: bool) -> tuple[int, int]:
    """RDMSR or WRMSR (0 if it is neither), and how many bytes an instruction has."""
    at = 0
    while at < len(code) - 2 and code[at] in PREFIXES and (wide or not 0x40 <= code[at] < 0x50):
        at += 1
    if code[at:at + 1] == b"\x0f" and code[at + 1:at + 2] in (bytes([RDMSR]), bytes([WRMSR])):
        return code[at + 1], at + 2
    return 0, 0


class ModelSpecific:
    """Those of one vCPU's."""

    def __init__(self, state: Any, apic: Any):
        self._state, self._apic = state, apic

    def is_ours(self, number: int) -> bool:
        return number not in OF_UNICORN

    def access(self, kind: int) -> None:
        """As the registers have it (SDM 2, RDMSR and WRMSR), at privilege level 0.  Raises Fault."""
        general = self._state.general
        number = general.rcx & HALF
        if kind == WRMSR:
            self.write(number, (general.rdx & HALF) << 32 | general.rax & HALF)
            return
        value = self.read(number)
        general.rax, general.rdx = value & HALF, value >> 32

    def read(self, number: int) -> int:
        """Raises Fault."""
        if number == APIC_BASE:
            return self._apic.base
        if number == TSC:
            return lib.emulator_ticks() + self._state.timing.tsc_offset & WORD
        found = self._apic.read_msr(number) if number in X2APIC else 0 if number in NOTHING else None
        if found is None:
            raise Fault(PROTECTION)
        return found

    def write(self, number: int, value: int) -> None:
        """Raises Fault."""
        if number == APIC_BASE:
            done = self._apic.set_base(value)
            self._state.control.apic_base = self._apic.base
        elif number == TSC:
            self._state.timing.tsc_offset = value - lib.emulator_ticks() & WORD
            done = True
        else:
            done = self._apic.write_msr(number, value) if number in X2APIC else number in NOTHING
        if not done:
            raise Fault(PROTECTION)
