"""A local APIC's registers as a guest finds them: in memory (xAPIC mode; Intel SDM 3, 11.4.1), or as model-specific
registers (x2APIC mode; SDM 3, 11.12)."""

from __future__ import annotations

from .apic_registers import (
    BUSY,
    CLUSTERS,
    DFR,
    DIVIDE,
    EOI,
    ESR,
    ESR_REGISTER,
    ICR,
    ICR_HIGH,
    ICR_RESERVED,
    ID,
    INITIAL_COUNT,
    LDR,
    LVT_BITS,
    LVT_TIMER,
    MASKED,
    NOT_IN_X2APIC,
    ON,
    READABLE,
    SELF_IPI,
    SPURIOUS,
    SPURIOUS_BITS,
    TPR,
    VECTOR,
    WORD,
    X2APIC_MSRS,
)
from .lapic import LocalApic
from .message import Shorthand


class ApicPage:
    """How the CPU of `apic` accesses it."""

    def __init__(self, apic: LocalApic):
        self.apic = apic

    # as memory

    def read(self, offset: int, width: int) -> int:
        """Of its page: up to a register's four bytes; what goes beyond, or is no register, reads as 0.  Of an APIC
        that is not there as memory, as ones (KVM_X86_QUIRK_LAPIC_MMIO_HOLE)."""
        apic = self.apic
        if not apic.present or apic.x2apic:
            return (1 << 8 * width) - 1
        at, byte = divmod(offset, 16)
        if byte + width > 4 or width == 3:
            return 0
        if at not in READABLE:
            apic.error(ESR_REGISTER)
            return 0
        return apic.register(at) >> 8 * byte & (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        """Registers are written whole (SDM 3, 11.4.1); anything else does nothing."""
        apic = self.apic
        if not apic.present or apic.x2apic or width != 4 or offset & 0xf:
            return
        at = offset >> 4
        if at == SELF_IPI or not self._set(at, value & WORD):
            apic.error(ESR_REGISTER)

    # as model-specific registers

    def read_msr(self, msr: int) -> int | None:
        """None where the CPU faults (#GP)."""
        apic, at = self.apic, msr - X2APIC_MSRS
        if not apic.x2apic or at not in READABLE or at in NOT_IN_X2APIC:
            return None
        return apic.register(at) | (apic.words[ICR_HIGH] << 32 if at == ICR else 0)

    def write_msr(self, msr: int, value: int) -> bool:
        """False where the CPU faults."""
        at = msr - X2APIC_MSRS
        if not self.apic.x2apic or at in NOT_IN_X2APIC or at in (ID, LDR):
            return False
        if at == ICR:
            return self._set_long_command(value)
        if value >> 32 or (at == ESR and value) or (at == SELF_IPI and value > VECTOR):
            return False
        return self._set(at, value)

    def _set_long_command(self, value: int) -> bool:
        """The interrupt command, both halves at once (SDM 3, 11.12.9)."""
        apic = self.apic
        if value & ICR_RESERVED or value >> 64:
            return False
        apic.words[ICR], apic.words[ICR_HIGH] = value & WORD & ~BUSY, value >> 32
        apic.send(value & WORD, value >> 32)
        return True

    # registers

    def _set(self, at: int, value: int) -> bool:
        """Write one; False if it cannot be written."""
        if at in LVT_BITS:
            self._set_local_vector(at, value)
        elif at in TOP_BYTE:
            self.apic.words[at] = value & 0xff000000
        elif at in SETTERS:
            SETTERS[at](self, value)
        else:
            return False
        return True

    def _set_priority(self, value: int) -> None:
        self.apic.set_priority(value)

    def _end_of_interrupt(self, _value: int) -> None:
        self.apic.end_of_interrupt()

    def _set_model(self, value: int) -> None:
        self.apic.words[DFR] = value | CLUSTERS

    def _set_spurious(self, value: int) -> None:
        """Off, it masks all local vectors, and keeps them so (SDM 3, 11.4.7.2)."""
        words = self.apic.words
        words[SPURIOUS] = value & SPURIOUS_BITS
        if not value & ON:
            for entry in LVT_BITS:
                words[entry] |= MASKED
        self.apic.update()

    def _set_errors(self, _value: int) -> None:
        self.apic.show_errors()

    def _set_command(self, value: int) -> None:
        words = self.apic.words
        words[ICR] = value & ~BUSY
        self.apic.send(value, words[ICR_HIGH] >> 24)

    def _set_local_vector(self, at: int, value: int) -> None:
        apic = self.apic
        value &= LVT_BITS[at]
        if at == LVT_TIMER:
            apic.timer.set_mode(value >> 17 & 3)
        apic.words[at] = value if apic.words[SPURIOUS] & ON else value | MASKED
        apic.update()

    def _set_count(self, value: int) -> None:
        self.apic.timer.set_initial(value)

    def _set_divide(self, value: int) -> None:
        self.apic.words[DIVIDE] = value & 0xb
        self.apic.timer.set_divisor(self.apic.divisor())

    def _send_to_self(self, value: int) -> None:
        self.apic.send(value & VECTOR | Shorthand.SELF << 18, 0)


TOP_BYTE = frozenset([ID, LDR, ICR_HIGH])       # of which software writes the uppermost byte
SETTERS = {
    TPR: ApicPage._set_priority, EOI: ApicPage._end_of_interrupt, DFR: ApicPage._set_model,
    SPURIOUS: ApicPage._set_spurious, ESR: ApicPage._set_errors, ICR: ApicPage._set_command,
    INITIAL_COUNT: ApicPage._set_count, DIVIDE: ApicPage._set_divide, SELF_IPI: ApicPage._send_to_self,
}
