"""Random states in each mode that a CPU has, for tests and campaigns: all that `check.py` lets pass, the edges most."""

from __future__ import annotations

import random
from typing import Any

from .check import AVX, PROCESSOR_PRIORITY, SSE, TASK_PRIORITY, X87, processor_priority
from .reset import BUSY_TSS, CODE, DATA, LDT

MODES = ("real", "big-real", "protected-16", "protected-32", "vm86", "pae", "long", "compatibility")
EDGES = (0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, (1 << 63) - 1,
         1 << 63, (1 << 64) - 1)
PE, WP, NE, ET, PG = 1, 1 << 16, 1 << 5, 1 << 4, 1 << 31
PAE, LME, LMA, SCE, NXE = 1 << 5, 1 << 8, 1 << 10, 1, 1 << 11
G, DB, L, UNUSABLE = 1 << 15, 1 << 14, 1 << 13, 1 << 16
RESERVED_ONE = 2
WORD = (1 << 64) - 1


class States:
    """`fields` of state after state, as `to_dict` has them: `base` with what is random changed."""

    def __init__(self, base: dict[str, Any], seed: int, sysenter_bits: int = 64):
        """AMD's CPUs have `sysenter_bits` 32 (APM 2, 6.1.2)."""
        self._sysenter = (1 << sysenter_bits) - 1
        self._base, self._random = base, random.Random(seed)

    def next(self, mode: str) -> dict[str, Any]:
        import copy
        state = copy.deepcopy(self._base)
        self._control(state["control"], mode)
        if state["apic_present"]:
            state["apic"][TASK_PRIORITY] = state["control"]["cr8"] << 4
            state["apic"][PROCESSOR_PRIORITY] = processor_priority(state["apic"])
        self._general(state["general"], mode)
        self._segments(state["segments"], mode)
        self._debug(state["debug"])
        self._xsave(state["xsave"], state["control"]["xcr0"])
        self._msrs(state["msrs"])
        self._events(state["events"], mode)
        return state

    def _word(self, bits: int = 64) -> int:
        pick = self._random.random()
        value = self._random.choice(EDGES) if pick < 0.4 else self._random.getrandbits(64)
        return value & (1 << bits) - 1

    def _canonical(self) -> int:
        low = self._word(47)
        return low if self._random.random() < 0.5 else (1 << 64) - 1 - low

    def _flags(self, *flags: int) -> int:
        return sum(flag for flag in flags if self._random.random() < 0.5)

    def _control(self, control: dict[str, Any], mode: str) -> None:
        control["cr0"] = ET | self._flags(WP, NE, 2, 4, 8, 1 << 18)
        control["cr4"] = self._flags(1 << 2, 1 << 3, 1 << 4, 1 << 6, 1 << 7, 1 << 9, 1 << 10)
        control["efer"] = self._flags(SCE, NXE)
        control["cr2"], control["cr8"] = self._word(), self._random.randrange(16)
        control["cr3"] = self._random.getrandbits(20) << 12
        if mode not in ("real", "big-real"):
            control["cr0"] |= PE
        if mode in ("pae", "long", "compatibility"):
            control["cr0"] |= PG
            control["cr4"] |= PAE
        if mode == "pae":
            control |= {"pdptrs_valid": 1, "pdptr": [self._random.getrandbits(20) << 12 | 1 for _ in range(4)]}
        if mode in ("long", "compatibility"):
            control["efer"] |= LME | LMA

    def _general(self, general: dict[str, int], mode: str) -> None:
        for name in general:
            general[name] = self._word()
        general["rip"] = self._canonical() if mode == "long" else self._word(32)
        general["rflags"] = RESERVED_ONE | self._flags(1, 4, 16, 64, 128, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13,
                                                       1 << 14, 1 << 16, 1 << 18, 1 << 21)
        if mode == "vm86":
            general["rflags"] |= 1 << 17

    def _segments(self, segments: dict[str, Any], mode: str) -> None:
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            segments[name] |= self._segment(name, mode)
        segments["tr"] |= {"base": self._word(32), "limit": 0x67 + self._random.randrange(100), "access": BUSY_TSS,
                           "selector": self._word(13) << 3}
        segments["ldt"] |= {"base": 0, "limit": 0xffff, "access": LDT, "selector": 0}
        if self._random.random() < 0.5:
            segments["ldt"] |= {"base": self._word(32), "limit": self._word(16), "selector": self._word(13) << 3}
        for name in ("gdt", "idt"):
            segments[name] |= {"base": self._canonical() if mode == "long" else self._word(32), "limit": self._word(16)}

    def _segment(self, name: str, mode: str) -> dict[str, int]:
        code = name == "cs"
        if mode in ("real", "vm86") or (mode == "big-real" and (code or self._random.random() < 0.3)):
            selector = self._word(16)
            return {"base": selector << 4, "limit": 0xffff, "selector": selector,
                    "access": 0xf3 if mode == "vm86" else DATA if not code else CODE}
        if mode == "big-real":
            return {"base": self._word(32), "limit": 0xffffffff, "selector": self._word(16), "access": DATA | G}
        access = (CODE if code else DATA) | G
        if mode == "long" and code:
            access |= L
        elif mode != "protected-16":
            access |= DB
        base = self._canonical() if name in ("fs", "gs") and mode == "long" else 0 if mode == "long" else self._word(32)
        if mode == "protected-16" and self._random.random() < 0.5:
            base, limit, access = self._word(24), self._word(16), access & ~G
        else:
            limit = self._word(20) << 12 | 0xfff
        return {"base": base, "limit": limit, "selector": self._word(13) << 3, "access": access}

    def _debug(self, debug: dict[str, Any]) -> None:
        debug["dr"] = [self._canonical() for _ in range(4)]
        debug["dr6"] = 0xffff0ff0 | self._flags(1, 2, 4, 8, 1 << 14)
        debug["dr7"] = 0x400 | self._flags(*(1 << bit for bit in range(8)), *(1 << bit for bit in range(16, 32)))

    def _xsave(self, xsave: dict[str, Any], xcr0: int) -> None:
        """Instruction and data pointers are 0: AMD's CPUs keep them for exceptions that wait alone (APM 2, 11.4.4)."""
        xsave["xstate_bv"] = X87 | SSE | xcr0 & AVX
        xsave["fcw"], xsave["fsw"], xsave["ftw"] = 0x37f, self._word(16) & ~0x80 & 0x7fff, self._word(8)
        for i in range(len(xsave["st"])):
            xsave["st"][i] = self._random.getrandbits(8) if i % 16 < 10 else 0
        xsave["mxcsr"] = 0x1f80 ^ self._flags(0x3f, 0x40, 0x8000)
        xsave["xmm"] = list(self._random.randbytes(256))
        if xcr0 & AVX:
            xsave["extended"][:256] = list(self._random.randbytes(256))     # SDM 1, 13.4.3: the upper halves

    def _msrs(self, msrs: dict[str, Any]) -> None:
        for name in ("sysenter_esp", "sysenter_eip", "lstar", "cstar", "kernel_gs_base"):
            msrs[name] = self._canonical() & (self._sysenter if name.startswith("sysenter") else WORD)
        msrs["sysenter_cs"], msrs["star"] = self._word(16), self._word()
        msrs["fmask"], msrs["tsc_aux"] = self._word(32), self._word(32)
        msrs["pat"] = int.from_bytes(bytes(self._random.choice((0, 1, 4, 5, 6, 7)) for _ in range(8)), "little")

    def _events(self, events: dict[str, int], mode: str) -> None:
        kind = self._random.randrange(6)
        if kind == 0:
            nr = self._random.choice((0, 6, 13, 14))
            events |= {"exception_injected": 1, "exception_nr": nr}
            if nr in (13, 14) and mode not in ("real", "big-real"):
                events |= {"exception_has_error": 1, "exception_error": self._word(16)}
        elif kind == 1:
            events |= {"interrupt_injected": 1, "interrupt_nr": self._random.randrange(32, 256)}
        elif kind == 2:
            events |= {"nmi_injected": 1, "nmi_masked": 1}
        elif kind == 3:
            events |= {"nmi_pending": 1, "nmi_masked": self._random.randrange(2)}
        elif kind == 4:
            events["shadow"] = self._random.choice((1, 2))
