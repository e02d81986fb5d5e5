"""Which bits of a generated state may be anything, with the rest of it as it is: so that of each state of
vmm/executors/generated.py, which takes its time, there are thousands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vmm.devmodel.layout import layout_block
from vmm.devmodel.vcpu import XSAVE_BYTES, VcpuState
from vmm.executors.check import AVX, AVX512, GRANULAR, SSE, X87
from vmm.executors.kvm_tables import place_of
from vmm.executors.state import GENERAL

BYTES = layout_block(VcpuState).size
WORD, HALF = (1 << 64) - 1, (1 << 32) - 1
LINEAR = (1 << 47) - 1                  # of a canonical address: the bits above are all alike (SDM 1, 3.3.7.1)
PAGE_TABLE = 0xfffff000                 # of cr3
FLAGS = 0x257ed5                        # of rflags: those that no mode forbids (SDM 1, 3.4.3), without TF
REAL_MODES = ("real", "big-real", "vm86")
ST_BYTES, ST_STEP = 10, 16              # of an x87 register, in the area
BREAKPOINTS, BREAKPOINT_KINDS = 0xff, 0xffff0000    # of dr7
MXCSR, STATUS = 0x807f, 0x7f7f          # as generated.py has them: exceptions are masked, and wait nowhere
WIDE = {2: AVX, 5: AVX512, 6: AVX512, 7: AVX512}    # component -> of xcr0; all of their bits are registers'


def free_bits(fields: dict[str, Any], mode: str, components: dict[int, tuple[int, int]], sysenter_bits: int) -> int:
    """Of a state as a number, little-endian.  `components` are those of the XSAVE area: (offset, bytes)."""
    free = 0
    for path, bits in _words(fields, mode, sysenter_bits):
        place = place_of(path)
        free |= bits << 8 * place.at
    return free | _area(fields, components)


def _words(fields: dict[str, Any], mode: str, sysenter_bits: int) -> Iterator[tuple[str, int]]:
    yield from ((f"general.{name}", WORD) for name in GENERAL if name not in ("rip", "rflags"))
    yield "general.rip", LINEAR if mode == "long" else HALF
    yield "general.rflags", FLAGS
    yield from (("control.cr2", WORD), ("control.cr3", PAGE_TABLE))
    if fields["control"]["pdptrs_valid"]:
        yield from ((f"control.pdptr.{i}", PAGE_TABLE) for i in range(4))
    yield from _segments(fields["segments"], mode)
    yield from ((f"debug.dr.{i}", LINEAR) for i in range(4))
    yield from (("debug.dr6", 0x400f), ("debug.dr7", BREAKPOINT_KINDS | BREAKPOINTS))
    yield from _msrs(fields["msrs"], sysenter_bits)
    yield from _events(fields["events"])
    yield from ((f"apic.{i}", HALF) for i in range(25, 32))     # which vectors are level-triggered


def _segments(segments: dict[str, Any], mode: str) -> Iterator[tuple[str, int]]:
    for name in ("cs", "ds", "es", "fs", "gs", "ss"):
        if mode in REAL_MODES:
            continue            # base and selector belong together, but in big real mode's data segments
        where, wide = f"segments.{name}", segments[name]["access"] & GRANULAR
        yield from ((f"{where}.limit", 0xfffff000 if wide else 0xffff), (f"{where}.selector", 0xfff8))
        if mode != "long":
            yield f"{where}.base", HALF if wide else 0xffffff
        elif name in ("fs", "gs"):
            yield f"{where}.base", LINEAR
    for name in ("gdt", "idt"):
        yield from ((f"segments.{name}.base", LINEAR if mode == "long" else HALF), (f"segments.{name}.limit", 0xffff))
    yield from (("segments.tr.base", HALF), ("segments.tr.selector", 0xfff8))


def _msrs(msrs: dict[str, Any], sysenter_bits: int) -> Iterator[tuple[str, int]]:
    yield from ((f"msrs.{name}", LINEAR) for name in ("lstar", "cstar", "kernel_gs_base"))
    yield from ((f"msrs.{name}", LINEAR & (1 << sysenter_bits) - 1) for name in ("sysenter_esp", "sysenter_eip"))
    yield from (("msrs.sysenter_cs", 0xffff), ("msrs.star", WORD), ("msrs.fmask", HALF), ("msrs.tsc_aux", HALF))
    # a memory type is 0, 1, or 4 to 7 (SDM 3, 13.12.2)
    yield "msrs.pat", sum((3 if msrs["pat"] >> 8 * i & 4 else 1) << 8 * i for i in range(8))


def _events(events: dict[str, int]) -> Iterator[tuple[str, int]]:
    if events["exception_has_error"]:
        yield "events.exception_error", 0xffff
    if events["interrupt_injected"]:
        yield "events.interrupt_nr", 0x1f


def _area(fields: dict[str, Any], components: dict[int, tuple[int, int]]) -> int:
    xsave, xcr0 = fields["xsave"], fields["control"]["xcr0"]
    area, at = bytearray(BYTES), place_of("xsave").at
    if xsave["xstate_bv"] & X87:
        for i in range(8):
            _set(area, place_of("xsave.st").at + ST_STEP * i, ST_BYTES)
        _set(area, place_of("xsave.ftw").at, 1)
    if xsave["xstate_bv"] & SSE:
        _set(area, place_of("xsave.xmm").at, 256)
    for bit, (where, size) in components.items():
        if bit in WIDE and xcr0 >> bit & 1 and where + size <= XSAVE_BYTES:
            _set(area, at + where, size)
    return int.from_bytes(area, "little") | MXCSR << 8 * place_of("xsave.mxcsr").at | \
        STATUS << 8 * place_of("xsave.fsw").at


def _set(area: bytearray, at: int, size: int) -> None:
    area[at:at + size] = b"\xff" * size


def bits_of(paths: Iterable[str]) -> int:
    """All bits of these fields, of a state as a number."""
    found = 0
    for path in paths:
        place = place_of(path)
        found |= (1 << 8 * place.bytes) - 1 << 8 * place.at
    return found
