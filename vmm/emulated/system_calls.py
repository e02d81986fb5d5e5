"""SYSCALL and SYSENTER (SDM 2, of each), which Unicorn leaves to others; it does their returns itself."""

from __future__ import annotations

from typing import Any

from .linear import Fault

SCE, LONG_MODE = 1, 1 << 10             # efer
RESUME, VM86, ENABLED = 1 << 16, 1 << 17, 1 << 9
CODE_64, CODE_32, DATA = 0xa09b, 0xc09b, 0xc093         # access of flat segments, at privilege level 0
LONG_CODE = 1 << 13
INVALID_OPCODE, PROTECTION = 6, 13
CANONICAL = (1 << 64) - 1


def syscall(state: Any) -> None:
    """rip is behind it.  Raises Fault."""
    general, msrs = state.general, state.msrs
    wide = state.control.efer & LONG_MODE and state.segments.cs.access & LONG_CODE
    if not state.control.efer & SCE or not wide:        # as on Intel's CPUs
        raise Fault(INVALID_OPCODE)
    general.rcx, general.r11 = general.rip, general.rflags & ~RESUME
    general.rip = msrs.lstar
    general.rflags &= ~(msrs.fmask | RESUME)
    _flat(state, msrs.star >> 32 & 0xfffc, CODE_64)


def sysenter(state: Any) -> None:
    """Raises Fault."""
    general, msrs, long_mode = state.general, state.msrs, state.control.efer & LONG_MODE
    if not state.control.cr0 & 1 or not msrs.sysenter_cs & 0xfffc:
        raise Fault(PROTECTION)
    mask = CANONICAL if long_mode else 0xffffffff
    general.rsp, general.rip = msrs.sysenter_esp & mask, msrs.sysenter_eip & mask
    general.rflags &= ~(VM86 | ENABLED | RESUME)
    _flat(state, msrs.sysenter_cs & 0xfffc, CODE_64 if long_mode else CODE_32)


def _flat(state: Any, selector: int, code: int) -> None:
    stack = selector + 8 & 0xffff
    for segment, number, access in ((state.segments.cs, selector, code), (state.segments.ss, stack, DATA)):
        segment.selector, segment.base, segment.limit, segment.access = number, 0, 0xffffffff, access
