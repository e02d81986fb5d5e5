"""Whether a state is one that a CPU can be in: what Intel's SDM reserves, field by field.

A saved state is hostile until it was checked; KVM would refuse some of this without a word of which field it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .state import SEGMENTS

PE, NW, CD, PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31             # cr0 (SDM 3, 2.5)
CR0 = 0xe005003f
LAM = 3 << 61                                                   # of cr3, in long mode (SDM 3, 2.5)
PAE, CR4 = 1 << 5, 0x11bff7fff                                  # all that the SDM names, to LAM_SUP and FRED
LME, LMA, EFER = 1 << 8, 1 << 10, 0x36fd01                      # SDM 3, 2.2.1; AMD APM 2, 3.1.7, to AIBRSE
RFLAGS, RFLAGS_ONE, VM = 0x3f7fd7, 2, 1 << 17                   # SDM 1, 3.4.3
MXCSR = 0x2ffff                                                 # SDM 1, 10.2.3; bit 17: AMD APM 1, 4.2.2
X87, SSE, AVX, MPX, AVX512, AMX = 1, 2, 4, 0x18, 0xe0, 0x60000  # SDM 1, 13.1
COMPONENTS = X87 | SSE | AVX | MPX | AVX512 | 1 << 9 | AMX      # 9: PKRU.  Others that there are IA32_XSS has
X2APIC, ENABLED, APIC_FLAGS = 1 << 10, 1 << 11, 0xd00           # SDM 3, 11.4.4
TASK_PRIORITY, PROCESSOR_PRIORITY, IN_SERVICE = 8, 10, range(16, 24)    # the APIC's (SDM 3, table 11-1)
PHYSICAL = (1 << 52) - 1                                        # the most that there may be (SDM 3, 4.1.4)
PRESENT, GRANULAR, UNUSABLE, ACCESS = 1 << 7, 1 << 15, 1 << 16, 0x1f0ff     # of segments (SDM 3, 25.4.1)

Problem = tuple[str, int, str]      # field, what it is, what was wanted


def problems(state: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with a state, as `to_dict` has it."""
    yield from _control(state["control"])
    yield from _general(state["general"], state["control"])
    yield from _segments(state["segments"], state["control"])
    yield from _debug(state["debug"])
    yield from _xsave(state["xsave"])
    yield from _events(state["events"])
    yield from _msrs(state["msrs"])
    if state["apic_present"] > 1:
        yield "apic_present", state["apic_present"], "0 or 1"
    if state["apic_present"] and state["control"]["cr8"] != state["apic"][TASK_PRIORITY] >> 4 & 15:
        yield "control.cr8", state["control"]["cr8"], "bits 4 to 7 of the APIC's task priority (SDM 3, 11.8.6)"
    if state["apic_present"] and state["apic"][PROCESSOR_PRIORITY] != processor_priority(state["apic"]):
        wanted = processor_priority(state["apic"])
        yield "apic[10]", state["apic"][PROCESSOR_PRIORITY], f"{wanted:#x}, by what is in service (SDM 3, 11.8.3.1)"


def _control(at: dict[str, Any]) -> Iterator[Problem]:
    cr0, cr4, efer = at["cr0"], at["cr4"], at["efer"]
    if cr0 & ~CR0 or (cr0 & PG and not cr0 & PE) or (cr0 & NW and not cr0 & CD):
        yield "control.cr0", cr0, f"no bits but {CR0:#x}, PG with PE, NW with CD"
    if cr4 & ~CR4 or (efer & LMA and not cr4 & PAE):
        yield "control.cr4", cr4, f"no bits but {CR4:#x}, and PAE in long mode"
    if efer & ~EFER or bool(efer & LMA) != bool(efer & LME and cr0 & PG):
        yield "control.efer", efer, f"no bits but {EFER:#x}, and LMA just when LME and cr0.PG are there"
    if at["cr3"] & ~(PHYSICAL | LAM if efer & LMA else PHYSICAL):
        yield "control.cr3", at["cr3"], "a physical address"
    if at["cr8"] > 15:
        yield "control.cr8", at["cr8"], "0 to 15"
    xcr0 = at["xcr0"]
    parts = any(xcr0 & all_of not in (0, all_of) for all_of in (MPX, AVX512, AMX))
    if xcr0 & ~COMPONENTS or not xcr0 & X87 or parts or (xcr0 & AVX and not xcr0 & SSE) or (
            xcr0 & AVX512 and not xcr0 & AVX):
        yield "control.xcr0", xcr0, "components as the SDM lets them be together (1, 13.3)"
    base = at["apic_base"]
    if base & ~PHYSICAL or base & 0xfff & ~APIC_FLAGS or (base & X2APIC and not base & ENABLED):
        yield "control.apic_base", base, "a page, and x2APIC mode only if enabled"
    if at["pdptrs_valid"] > 1:
        yield "control.pdptrs_valid", at["pdptrs_valid"], "0 or 1"


def _general(at: dict[str, int], control: dict[str, Any]) -> Iterator[Problem]:
    flags, long = at["rflags"], bool(control["efer"] & LMA)
    if flags & ~RFLAGS or not flags & RFLAGS_ONE or (flags & VM and (long or not control["cr0"] & PE)):
        yield "general.rflags", flags, f"no bits but {RFLAGS:#x}, bit 1, and VM in protected mode alone"
    if not canonical(at["rip"], control):
        yield "general.rip", at["rip"], "a canonical address"


def canonical(address: int, control: dict[str, Any]) -> bool:
    """By the width of linear addresses (SDM 1, 3.3.7.1): 57 bits with LA57, else 48."""
    bits = 57 if control["cr4"] >> 12 & 1 else 48
    top = address >> bits - 1
    return top in (0, (1 << 65 - bits) - 1)


def _segments(at: dict[str, Any], control: dict[str, Any]) -> Iterator[Problem]:
    for name in SEGMENTS:
        where, segment = f"segments.{name}", at[name]
        access, limit = segment["access"], segment["limit"]
        if access & ~ACCESS:
            yield f"{where}.access", access, f"no bits but {ACCESS:#x}"
        if not access & UNUSABLE and (limit & 0xfff != 0xfff if access & GRANULAR else limit > 0xfffff):
            yield f"{where}.limit", limit, "whole pages with G, at most 0xfffff without"
        if name in ("fs", "gs", "tr", "ldt"):
            if not canonical(segment["base"], control):
                yield f"{where}.base", segment["base"], "a canonical address"
        elif segment["base"] >> 32:
            yield f"{where}.base", segment["base"], "32 bits"
    if at["cs"]["access"] >> 13 & at["cs"]["access"] >> 14 & 1 and control["efer"] & LMA:
        yield "segments.cs.access", at["cs"]["access"], "D clear where L is set (SDM 3, 5.2.1)"
    for name in ("gdt", "idt"):
        if not canonical(at[name]["base"], control):
            yield f"segments.{name}.base", at[name]["base"], "a canonical address"


def processor_priority(apic: list[int]) -> int:
    """What an APIC's registers make of it (SDM 3, 11.8.3.1)."""
    task, highest = apic[TASK_PRIORITY] & 0xff, 0
    for i, at in enumerate(IN_SERVICE):
        if apic[at]:
            highest = 32 * i + apic[at].bit_length() - 1
    return task if task >> 4 >= highest >> 4 else highest & 0xf0


def _debug(at: dict[str, int]) -> Iterator[Problem]:
    for name in ("dr6", "dr7"):
        if at[name] >> 32:
            yield f"debug.{name}", at[name], "32 bits"


def _xsave(at: dict[str, Any]) -> Iterator[Problem]:
    if at["xstate_bv"] & ~COMPONENTS:       # also without its bit in xcr0: a guest that clears that keeps what it has
        yield "xsave.xstate_bv", at["xstate_bv"], f"no components but {COMPONENTS:#x}"
    if at["xcomp_bv"]:
        yield "xsave.xcomp_bv", at["xcomp_bv"], "0: the standard format"
    if at["mxcsr"] & ~MXCSR:
        yield "xsave.mxcsr", at["mxcsr"], f"no bits but {MXCSR:#x}"
    if any(at["header"]):
        yield "xsave.header", max(at["header"]), "0, as it is reserved"


def _events(at: dict[str, int]) -> Iterator[Problem]:
    if at["exception_nr"] > 31:
        yield "events.exception_nr", at["exception_nr"], "an exception's vector"
    for name in ("exception_injected", "exception_pending", "exception_has_error", "exception_has_payload",
                 "interrupt_injected", "interrupt_soft", "nmi_injected", "nmi_masked", "smm", "smi_pending",
                 "smm_inside_nmi", "latched_init", "triple_fault"):
        if at[name] > 1:
            yield f"events.{name}", at[name], "0 or 1"
    if at["exception_injected"] and at["exception_pending"]:
        yield "events.exception_pending", 1, "0 beside one that is being delivered"
    if at["shadow"] > 3:
        yield "events.shadow", at["shadow"], "0 to 3"


def _msrs(at: dict[str, Any]) -> Iterator[Problem]:
    if at["count"] > len(at["others"]):
        yield "msrs.count", at["count"], f"at most {len(at['others'])}"
    indices = [other["index"] for other in at["others"][:at["count"]]]
    for index in sorted({each for each in indices if indices.count(each) > 1}):
        yield "msrs.others", index, "each once"
