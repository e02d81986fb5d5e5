"""Model-specific registers that Unicorn has not, or not as a machine with local APICs has them: RDMSR and WRMSR of them
are done here, of the others by Unicorn itself."""

from __future__ import annotations

from typing import Any

from ..executors._emulator import lib
from .linear import Fault

RDMSR, WRMSR = 0x32, 0x30           # opcodes, behind 0f
PROTECTION = 13
TSC, APIC_BASE, X2APIC, DEADLINE = 0x10, 0x1b, range(0x800, 0x900), 0x6e0
EFER, EFER_BITS, LME, PAGING, PAT = 0xc0000080, 0xd01, 1 << 8, 1 << 31, 0x277      # SCE, LME, LMA, NXE
ADDRESSES = (0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102)     # they are canonical
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


class ModelSpecific:
    """Those of one vCPU's."""

    def __init__(self, state: Any, apic: Any):
        self._state, self._apic = state, apic

    def access(self, kind: int) -> bool:
        """As the registers have it (SDM 2, RDMSR and WRMSR), at privilege level 0; False where it is Unicorn's to do.
        Raises Fault."""
        general = self._state.general
        number, value = general.rcx & HALF, (general.rdx & HALF) << 32 | general.rax & HALF
        if number in OF_UNICORN:
            if kind == WRMSR:
                self._check(number, value)
            return False
        if kind == WRMSR:
            self.write(number, value)
        else:
            value = self.read(number)
            general.rax, general.rdx = value & HALF, value >> 32
        return True

    def _check(self, number: int, value: int) -> None:
        """What those of Unicorn's take that a CPU does not."""
        control = self._state.control
        if (number in ADDRESSES and value + (1 << 47) & WORD >= 1 << 48) or (number == EFER and (
                value & ~EFER_BITS or (control.cr0 & PAGING and (value ^ control.efer) & LME))) or (
                number == PAT and any(byte & 0xf8 or byte in (2, 3) for byte in value.to_bytes(8, "little"))):
            raise Fault(PROTECTION)

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
