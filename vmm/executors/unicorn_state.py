"""The declared state and a CPU of Unicorn's.

What Unicorn has is given by a saved context with its words changed (unicorn_places.py), hidden parts of segments
included.  What it has not stays in the state, beside it.  What runs wrongly without it is refused.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from ..devmodel.vcpu import Activity
from ..devmodel.view import View, to_dict
from .check import SSE, X87
from .state import bytes_of
from .transfer import Carried, NotTransferable, Refused, complete, refuse_impossible
from .unicorn_places import SEGMENT_BYTES, places

CONTEXT, CALLS, BESIDE = Carried("a saved context"), Carried("Unicorn's calls"), Carried("beside it: it has none")
FATES = complete({
    "general": CONTEXT, "general.rflags": CALLS, "segments": CONTEXT, "control": CONTEXT,
    "control.xcr0": BESIDE, "control.apic_base": BESIDE, "control.pdptr": BESIDE, "control.pdptrs_valid": BESIDE,
    "debug": CONTEXT, "msrs": BESIDE, **{f"msrs.{name}": CONTEXT for name in ("sysenter_cs", *places().msrs)},
    "xsave": CONTEXT, "xsave.mxcsr_mask": BESIDE, "xsave.unused": BESIDE, "xsave.xstate_bv": BESIDE,
    "xsave.xcomp_bv": BESIDE, "xsave.header": BESIDE, "xsave.extended": BESIDE,
    "events": Refused("it delivers none; what waits has to be delivered first"), "events.shadow": CONTEXT,
    "events.nmi_masked": BESIDE, "events.nmi_pending": BESIDE, "events.sipi_vector": BESIDE,
    "events.exception_nr": BESIDE, "events.exception_has_error": BESIDE, "events.exception_error": BESIDE,
    "events.exception_payload": BESIDE,
    "events.exception_has_payload": BESIDE, "events.interrupt_nr": BESIDE, "events.interrupt_soft": BESIDE,
    "timing": BESIDE, "activity": Refused("it runs, or is not asked to"), "apic_present": BESIDE, "apic": BESIDE,
})
BREAKPOINTS = 0xff          # of dr7: those that are switched on
SSE_BYTES = 16

# hidden flags, target/i386/cpu.h of QEMU, which Unicorn is made of: HF_*_SHIFT
INHIBIT, CS32, SS32, ADD_SEGMENTS, PROTECTED, LONG, CS64, FXSR, SMAP = 3, 4, 5, 6, 7, 14, 15, 22, 23
FROM_CR0 = {1: 9, 2: 10, 3: 11}         # mp, em, ts
FROM_RFLAGS = 0x73100                   # tf, iopl, rf, vm, ac: at the same places
EVENTS = ("exception_injected", "exception_pending", "interrupt_injected", "nmi_injected", "smm", "smi_pending",
          "smm_inside_nmi", "latched_init", "triple_fault")


class UnicornState:
    """What one CPU of Unicorn's has, and can be given.  Raises NotTransferable."""

    def __init__(self, uc: Any):
        import unicorn
        import unicorn.x86_const as const
        self.uc, self.at, self._rflags = uc, places(), const.UC_X86_REG_EFLAGS
        self._flush_tlb = unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE
        self._context = uc.context_save()
        self._given = b""
        self._flags_given = 0

    # giving

    def give(self, state: View) -> None:
        """Have the CPU be that; nothing is touched of what is refused."""
        fields = to_dict(state)
        self._refuse(fields)
        self.uc.context_update(self._context)
        data = bytearray(bytes(self._context))
        self._put_general(data, fields)
        self._put_segments(data, fields["segments"])
        self._put_control(data, fields)
        self._put_float(data, fields["xsave"])
        ctypes.memmove(self._context.context, bytes(data), len(data))
        self.uc.context_restore(self._context)
        self.uc.reg_write(self._rflags, fields["general"]["rflags"])
        self.uc.ctl(*self._flush_tlb)
        self._given, self._flags_given = self._now(), fields["general"]["rflags"]

    def _now(self) -> bytes:
        self.uc.context_update(self._context)
        return bytes(self._context)

    @staticmethod
    def _refuse(fields: dict[str, Any]) -> None:
        refuse_impossible(fields)
        for name in EVENTS:
            if fields["events"][name]:
                raise NotTransferable(f"events.{name}: 1; wanted it delivered, which Unicorn does not do")
        if fields["activity"] != Activity.RUNNABLE:
            raise NotTransferable(f"activity: {fields['activity']}; wanted 0: a vCPU that runs")
        if fields["debug"]["dr7"] & BREAKPOINTS:
            raise NotTransferable(f"debug.dr7: {fields['debug']['dr7']:#x}; wanted none: Unicorn misses them")

    def _put_general(self, data: bytearray, fields: dict[str, Any]) -> None:
        for name, at in self.at.general.items():
            struct.pack_into("<Q", data, at, fields["general"][name])
        for name, at in self.at.msrs.items():
            struct.pack_into("<Q", data, at, fields["msrs"][name])
        struct.pack_into("<I", data, self.at.sysenter_cs, fields["msrs"]["sysenter_cs"] & 0xffffffff)
        debug = fields["debug"]
        struct.pack_into("<4Q16xQQ", data, self.at.debug, *debug["dr"], debug["dr6"], debug["dr7"])

    def _put_segments(self, data: bytearray, segments: dict[str, Any]) -> None:
        for name, at in self.at.segments.items():
            segment = segments[name]
            flags = 0 if segment.get("access", 0) >> 16 & 1 else (segment.get("access", 0) & 0xf0ff) << 8
            struct.pack_into("<I4xQII", data, at, segment.get("selector", 0), segment["base"], segment["limit"], flags)

    def _put_control(self, data: bytearray, fields: dict[str, Any]) -> None:
        control = fields["control"]
        for name in ("cr0", "cr2", "cr3", "cr4"):
            struct.pack_into("<Q", data, self.at.control[name], control[name])
        data[self.at.control["cr8"]] = control["cr8"]
        struct.pack_into("<Q", data, self.at.efer, control["efer"])
        struct.pack_into("<I", data, self.at.flags, hidden_flags(fields))

    def _put_float(self, data: bytearray, xsave: dict[str, Any]) -> None:
        """Of a component that is in its initial state the area may have anything (SDM 1, 13.6)."""
        if not xsave["xstate_bv"] & X87:
            xsave = xsave | {"fcw": 0x37f, "fsw": 0, "ftw": 0, "fop": 0, "fip": 0, "fdp": 0, "st": [0] * 128}
        if not xsave["xstate_bv"] & SSE:
            xsave = xsave | {"xmm": [0] * 256}
        at, top = self.at, xsave["fsw"] >> 11 & 7
        struct.pack_into("<I", data, at.top, top)
        struct.pack_into("<H", data, at.status, xsave["fsw"] & ~0x3800)
        struct.pack_into("<H", data, at.fcw, xsave["fcw"])
        data[at.tags:at.tags + 8] = bytes(1 - (xsave["ftw"] >> i & 1) for i in range(8))
        for i in range(8):      # FXSAVE has them by the stack's top (SDM 1, 10.5.1.1)
            register = at.st + 16 * (top + i & 7)
            data[register:register + 10] = bytes(xsave["st"][16 * i:16 * i + 10])
        for name in ("fip", "fdp"):
            struct.pack_into("<Q", data, getattr(at, name), xsave[name])
        struct.pack_into("<H", data, at.fop, xsave["fop"])
        struct.pack_into("<I", data, at.mxcsr, xsave["mxcsr"])
        for i in range(16):
            register = at.xmm + at.xmm_stride * i
            data[register:register + SSE_BYTES] = bytes(xsave["xmm"][SSE_BYTES * i:SSE_BYTES * (i + 1)])

    # taking

    def take(self, state: View) -> None:
        """What the CPU has become since it was given `state`; fields that did not change there stay as they are, so
        that nothing is lost that Unicorn has no place for."""
        data, before = self._now(), self._given
        at = self.at

        def word(place: int, form: str) -> int | None:
            """None if it is as it was."""
            now, then = struct.unpack_from(f"<{form}", data, place)[0], struct.unpack_from(f"<{form}", before, place)[0]
            return None if now == then else now
        for view, names in ((state.general, at.general), (state.msrs, at.msrs)):
            for name, place in names.items():
                if (value := word(place, "Q")) is not None:
                    setattr(view, name, value)
        if (flags := self.uc.reg_read(self._rflags)) != self._flags_given:
            state.general.rflags = flags
        if (value := word(at.sysenter_cs, "I")) is not None:
            state.msrs.sysenter_cs = value
        self._take_control(state, word)
        self._take_segments(state.segments, data)
        for i, name in enumerate(("dr6", "dr7")):
            if (value := word(at.debug + 48 + 8 * i, "Q")) is not None:
                setattr(state.debug, name, value)
        for i in range(4):
            if (value := word(at.debug + 8 * i, "Q")) is not None:
                state.debug.dr[i] = value
        self._take_float(state.xsave, data)

    def _take_control(self, state: Any, word: Any) -> None:
        for name in ("cr0", "cr2", "cr3", "cr4"):
            if (value := word(self.at.control[name], "Q")) is not None:
                setattr(state.control, name, value)
        if (value := word(self.at.control["cr8"], "B")) is not None:
            state.control.cr8 = value
            state.apic[8] = value << 4
        if (value := word(self.at.efer, "Q")) is not None:
            state.control.efer = value
        if (value := word(self.at.flags, "I")) is not None and not value >> INHIBIT & 1:
            state.events.shadow = 0

    def _take_segments(self, segments: Any, data: bytes) -> None:
        for name, at in self.at.segments.items():
            if data[at:at + SEGMENT_BYTES] == self._given[at:at + SEGMENT_BYTES]:
                continue
            segment = getattr(segments, name)
            selector, segment.base, segment.limit, flags = struct.unpack_from("<I4xQII", data, at)
            if name not in ("gdt", "idt"):
                segment.selector = selector
                segment.access = flags >> 8 & 0xf0ff | (0 if flags >> 15 & 1 else 1 << 16)

    def _take_float(self, xsave: Any, data: bytes) -> None:
        at, given, area = self.at, self._given, bytes_of(xsave)
        if data[at.top:at.mxcsr] != given[at.top:at.mxcsr]:
            self._take_x87(xsave, area, data)
            xsave.xstate_bv |= X87
        xmm = slice(at.mxcsr, at.xmm + 16 * at.xmm_stride)
        if data[xmm] != given[xmm]:
            xsave.mxcsr, = struct.unpack_from("<I", data, at.mxcsr)
            into = xsave._layout.field("xmm").offset
            for i in range(16):
                register = at.xmm + at.xmm_stride * i
                area[into + SSE_BYTES * i:into + SSE_BYTES * (i + 1)] = data[register:register + SSE_BYTES]
            xsave.xstate_bv |= SSE

    def _take_x87(self, xsave: Any, area: Any, data: bytes) -> None:
        at = self.at
        top, = struct.unpack_from("<I", data, at.top)
        xsave.fsw = struct.unpack_from("<H", data, at.status)[0] & ~0x3800 | top << 11
        xsave.ftw = sum((1 - data[at.tags + i]) << i for i in range(8))
        for name, form in (("fcw", "H"), ("fip", "Q"), ("fdp", "Q"), ("fop", "H")):
            setattr(xsave, name, struct.unpack_from(f"<{form}", data, getattr(at, name))[0])
        into = xsave._layout.field("st").offset
        for i in range(8):
            register = at.st + 16 * (top + i & 7)
            area[into + 16 * i:into + 16 * i + 10] = data[register:register + 10]


def hidden_flags(fields: dict[str, Any]) -> int:
    """What QEMU derives from the rest, and translates by."""
    control, segments, rflags = fields["control"], fields["segments"], fields["general"]["rflags"]
    cs, ss = segments["cs"]["access"], segments["ss"]["access"]
    protected, long = control["cr0"] & 1, control["efer"] >> 10 & 1
    vm86 = rflags >> 17 & 1
    cpl = 3 if vm86 else ss >> 5 & 3 if protected else 0
    flags = cpl | (rflags & FROM_RFLAGS) | protected << PROTECTED | long << LONG
    flags |= bool(fields["events"]["shadow"]) << INHIBIT
    for bit, at in FROM_CR0.items():
        flags |= (control["cr0"] >> bit & 1) << at
    flags |= (control["cr4"] >> 9 & 1) << FXSR | (control["cr4"] >> 21 & 1) << SMAP
    if long and cs >> 13 & 1:
        return flags | 1 << CS32 | 1 << SS32 | 1 << CS64
    cs32, ss32 = cs >> 14 & 1, ss >> 14 & 1
    adds = not protected or vm86 or not cs32 or any(segments[name]["base"] for name in ("ds", "es", "ss"))
    return flags | cs32 << CS32 | ss32 << SS32 | adds << ADD_SEGMENTS
