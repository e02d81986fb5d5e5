"""Registers of a local APIC and their bits (Intel SDM 3, chapter 11)."""

from __future__ import annotations

from .message import Mode

# registers: their offset in the page / 16 (SDM 3, table 11-1)
ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SPURIOUS = 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x0f
ISR, TMR, IRR, VECTOR_WORDS = 0x10, 0x18, 0x20, 8           # each 256 bits, 32 in a register
ESR, ICR, ICR_HIGH = 0x28, 0x30, 0x31
LVT_TIMER, LVT_THERMAL, LVT_COUNTERS, LVT_LINT0, LVT_LINT1, LVT_ERROR = range(0x32, 0x38)
INITIAL_COUNT, CURRENT_COUNT, DIVIDE, SELF_IPI = 0x38, 0x39, 0x3e, 0x3f

MODEL = 0x14 | 5 << 16                              # version, and the highest local vector's number
WORD = 0xffffffff
MASKED, VECTOR, DELIVERY, BUSY = 1 << 16, 0xff, 7 << 8, 1 << 12
LVT_COMMON = MASKED | BUSY | VECTOR
LVT_PIN = LVT_COMMON | DELIVERY | 1 << 13 | 1 << 14 | 1 << 15       # with polarity, remote IRR, trigger mode
LVT_BITS = {LVT_TIMER: LVT_COMMON | 3 << 17, LVT_THERMAL: LVT_COMMON | DELIVERY, LVT_COUNTERS: LVT_COMMON | DELIVERY,
            LVT_LINT0: LVT_PIN, LVT_LINT1: LVT_PIN, LVT_ERROR: LVT_COMMON}
EXTERNAL, NMI = Mode.EXTERNAL << 8, Mode.NMI << 8   # delivery modes of an LVT entry
ON = 1 << 8                                         # of the spurious interrupt vector register
SPURIOUS_BITS = 0x3ff
FLAT, CLUSTERS = 0xffffffff, 0x0fffffff             # models of the DFR
ESR_SENT_VECTOR, ESR_RECEIVED_VECTOR, ESR_REGISTER = 1 << 5, 1 << 6, 1 << 7     # SDM 3, 11.5.3
READABLE = frozenset([ID, VERSION, TPR, APR, PPR, LDR, DFR, SPURIOUS, *range(ISR, ESR + 1), *range(ICR, DIVIDE)]) - \
    frozenset(range(CURRENT_COUNT + 1, DIVIDE)) | {DIVIDE}
NOT_IN_X2APIC = frozenset([APR, DFR, ICR_HIGH])     # SDM 3, table 11-6

# IA32_APIC_BASE (SDM 3, 11.4.4)
BASE_DEFAULT, BASE_BOOT, BASE_X2APIC, BASE_ENABLED = 0xfee00000, 1 << 8, 1 << 10, 1 << 11
PAGE_BYTES = 0x1000
X2APIC_MSRS = 0x800                                 # MSR of register 0
ICR_RESERVED = 0xfff00000 | 3 << 16 | 1 << 13       # in x2APIC mode (SDM 3, figure 11-28)
