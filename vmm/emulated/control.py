"""What MOV to a control register refuses (SDM 2, MOV), and Unicorn does not."""

from __future__ import annotations

from typing import Any

from .linear import Fault

PROTECTION = 13
PE, NW, CD, PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31      # cr0
PAE, LME, LMA, LONG = 1 << 5, 1 << 8, 1 << 10, 1 << 13  # cr4; efer; of a segment's access
PRIORITY = 15                                           # of a task, the highest (SDM 3, 11.8.6)
CR0 = (1 << 32) - 1                                     # reserved bits of its lower half are ignored
# VME to PCE, OSFXSR, OSXMMEXCPT, FSGSBASE, SMEP, SMAP: what CPUID tells of, or does not have to
CR4 = 0x7ff | 1 << 16 | 1 << 20 | 1 << 21


def check_control(state: Any, name: str, value: int) -> None:
    """Raises Fault."""
    fits = {"cr0": _cr0_fits, "cr4": _cr4_fits, "cr8": _cr8_fits}[name]
    if not fits(state, value):
        raise Fault(PROTECTION)


def _cr0_fits(state: Any, value: int) -> bool:
    efer, long_mode = state.control.efer, state.control.efer & LMA
    if value & ~CR0 or (value & PG and not value & PE) or (value & NW and not value & CD):
        return False
    if value & PG and efer & LME and (not state.control.cr4 & PAE or
                                      (not long_mode and state.segments.cs.access & LONG)):
        return False
    return bool(value & PG) or not (long_mode and state.segments.cs.access & LONG)


def _cr4_fits(state: Any, value: int) -> bool:
    return not value & ~CR4 and bool(value & PAE or not state.control.efer & LMA)


def _cr8_fits(_state: Any, value: int) -> bool:
    return value <= PRIORITY
