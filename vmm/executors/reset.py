"""The state of a vCPU that was reset."""

from __future__ import annotations

from typing import Any

from ..devmodel.view import to_dict
from .check import SSE, X87
from .state import blank

CODE, DATA, BUSY_TSS, LDT = 0x9b, 0x93, 0x8b, 0x82      # of segments' access (SDM 3, 3.5)
LIMIT = 0xffff
APIC_BASE = 0xfee00900                                  # enabled, of the bootstrap processor (SDM 3, 11.4.4)
PAT = 0x0007040600070406                                # SDM 3, 12.12.4


def reset(signature: int = 0, apic_base: int = APIC_BASE) -> dict[str, Any]:
    """Fields as `to_dict` has them, by SDM 3, table 10-1, as far as no host is asked; with SSE, and a local APIC.
    `signature` is CPUID's, leaf 1."""
    state = blank()
    general, control, segments = state.general, state.control, state.segments
    general.rflags, general.rip, general.rdx = 2, 0xfff0, signature
    control.cr0, control.xcr0, control.apic_base = 0x60000010, X87 | SSE, apic_base
    for name in ("ds", "es", "fs", "gs", "ss"):
        _segment(getattr(segments, name), DATA)
    _segment(segments.cs, CODE)
    segments.cs.selector, segments.cs.base = 0xf000, 0xffff0000
    _segment(segments.tr, BUSY_TSS)
    _segment(segments.ldt, LDT)
    segments.gdt.limit = segments.idt.limit = LIMIT
    state.debug.dr6, state.debug.dr7 = 0xffff0ff0, 0x400
    state.msrs.pat, state.apic_present = PAT, 1
    state.xsave.fcw, state.xsave.mxcsr = 0x37f, 0x1f80      # FCW of a CPU that was initialized, as KVM has it
    return to_dict(state)


def _segment(segment: Any, access: int) -> None:
    segment.limit, segment.access = LIMIT, access
