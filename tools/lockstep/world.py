"""The world that instructions are tried in: memory with tables, handlers, code, data and stacks, and a state for each
mode.

    0x00000  IDT, or the real mode's vectors; GDT; TSS
    0x02000  a handler of four bytes for each vector, which writes to the port of the vector's number
    0x03000  page tables: identity, but for the last page below the hole of non-canonical addresses
    0x10000  code, read-only where there is paging: in long mode
    0x20000  data: pages to write; one to read, and one of the supervisor, behind them; then none
    0x30000  stack
    0x34000  stack of handlers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmm.executors.reset import reset

BYTES = 0x38000                 # real mode's stack segment ends there
IDT, GDT, TSS, STUBS, TABLES = 0, 0x1000, 0x1800, 0x2000, 0x3000
CODE, CODE_BYTES, SLOT = 0x10000, 0x10000, 32           # an instruction, or a few, in each slot
DATA, DATA_PAGES, READ_ONLY, SUPERVISOR = 0x20000, 4, 0x24000, 0x25000
STACK, STACK_PAGES, HANDLERS_STACK, HANDLERS_PAGES = 0x30000, 4, 0x34000, 2
WRITABLE = slice(DATA, HANDLERS_STACK + 0x1000 * HANDLERS_PAGES)
TOP = 0x7ffffffff000                                    # the last page of the lower half (SDM 1, 3.3.7.1)
DONE_PORT = 0xf1                                        # written behind an instruction; no exception has that number
IST_VECTORS = (8, 12, 14)                               # of long mode: a bad stack can come of these
PRESENT, WRITE, USER, USED = 1, 2, 4, 0x60              # of page tables; USED: accessed and dirty
CODE_TYPE, DATA_TYPE, READ_ONLY_TYPE = 0x9b, 0x93, 0x91     # present segments that were accessed
G, DB, L = 1 << 15, 1 << 14, 1 << 13                    # of a segment's access
CODE64, CODE32, DATA32, USER_CODE32, USER_DATA, USER_CODE64, TASK, SMALL = 8, 0x10, 0x18, 0x23, 0x2b, 0x33, 0x38, 0x48
PORTS_AT, TSS_LIMIT = 0x68, 0x68 + 32       # of ports that all may use: 0 to 0xff (SDM 1, 19.5.2)
PE, ET, NE, WP, PG = 1, 1 << 4, 1 << 5, 1 << 16, 1 << 31                # cr0
PAE, OSFXSR, OSXMMEXCPT = 1 << 5, 1 << 9, 1 << 10                       # cr4
LME, LMA, SCE, NXE = 1 << 8, 1 << 10, 1, 1 << 11                        # efer


@dataclass(frozen=True)
class Mode:
    """How wide the code is (0, 1 or 2: 16, 32 or 64 bits), its ring, and whether long mode is active: there alone is
    paging, as a KVM that emulates ring 0 may have none of 32 bits."""

    name: str
    width: int
    ring: int = 0
    long: bool = False
    protected: bool = True

    @property
    def register_bits(self) -> int:
        return 64 if self.width == 2 else 32


MODES = {mode.name: mode for mode in (
    Mode("real", 0, protected=False), Mode("big-real", 0, protected=False),
    Mode("protected-0", 1), Mode("protected-3", 1, ring=3),
    Mode("long-0", 2, long=True), Mode("long-3", 2, ring=3, long=True), Mode("compatibility", 1, ring=3, long=True))}


def fields_of(mode: Mode) -> dict[str, Any]:
    """The state that each step in a mode begins with, but for general registers."""
    state = reset()
    control, segments = state["control"], state["segments"]
    control |= {"cr0": ET | NE, "cr4": OSFXSR | OSXMMEXCPT, "cr3": TABLES}
    if mode.protected:
        control["cr0"] |= PE
    if mode.long:
        control["cr0"] |= WP | PG
        control["cr4"] |= PAE
        control["efer"] = LME | LMA | NXE | SCE
    segments["gdt"] |= {"base": GDT, "limit": 0x4f}
    segments["idt"] |= {"base": IDT, "limit": 0xfff if mode.long else 0x7ff if mode.protected else 0x3ff}
    segments["tr"] |= {"base": TSS, "limit": TSS_LIMIT, "access": 0x8b, "selector": TASK}
    segments["ldt"] |= {"base": 0, "limit": 0, "access": 1 << 16, "selector": 0}
    for name, segment in (_protected(mode) if mode.protected else _real(mode)).items():
        segments[name] |= segment
    return state


def _real(mode: Mode) -> dict[str, dict[str, int]]:
    bases = {"cs": CODE, "ds": DATA, "es": DATA + 0x2000, "fs": DATA + 0x1230, "gs": DATA - 0x400, "ss": STACK - 0x8000}
    found = {name: {"base": base, "selector": base >> 4, "limit": 0xffff,
                    "access": CODE_TYPE if name == "cs" else DATA_TYPE} for name, base in bases.items()}
    if mode.name == "big-real":
        for name in ("ds", "es"):
            found[name] |= {"limit": 0xffffffff, "access": DATA_TYPE | G}
    return found


def _protected(mode: Mode) -> dict[str, dict[str, int]]:
    """In long mode flat, but for those that have a base in 64-bit code.  In protected mode none reaches more than what
    may be written; ds ends within the data, and gs cannot be written."""
    level = mode.ring << 5
    code = {(2, 0): CODE64, (2, 3): USER_CODE64, (1, 0): CODE32, (1, 3): USER_CODE32}[mode.width, mode.ring]
    data = {"base": 0, "limit": 0xffffffff, "selector": USER_DATA if mode.ring else DATA32,
            "access": DATA_TYPE | level | G | DB}
    found = {name: dict(data) for name in ("ds", "es", "fs", "gs", "ss")}
    found["cs"] = data | {"selector": code, "access": CODE_TYPE | level | G | (L if mode.width == 2 else DB)}
    if mode.long:
        found["fs"]["base"], found["gs"]["base"] = 0x1230, DATA - 0x400 if mode.width == 2 else 0
        return found
    for name in ("ds", "es", "fs", "gs", "ss"):
        found[name] |= {"base": DATA, "limit": WRITABLE.stop - DATA - 1, "access": DATA_TYPE | level | DB}
    found["ds"]["limit"], found["fs"]["base"], found["fs"]["limit"] = 0x3fff, DATA + 0x1230, 0x2fff
    found["gs"]["access"] = READ_ONLY_TYPE | level | DB
    if not mode.ring:       # where a KVM that emulates ring 0 pushes an event's words by esp alone
        found["ss"] |= data
    return found


def segment_base(fields: dict[str, Any], mode: Mode, name: str) -> int:
    """What addresses in a segment count from."""
    if mode.width == 2 and name not in ("fs", "gs"):
        return 0
    return fields["segments"][name]["base"]


def _descriptor(base: int, limit: int, access: int) -> int:
    """Of a segment (SDM 3, 3.4.5)."""
    if access & G:
        limit >>= 12
    return limit & 0xffff | (base & 0xffffff) << 16 | access << 40 | (limit >> 16) << 48 | (base >> 24) << 56


def _gate(vector: int, mode: Mode) -> bytes:
    """An interrupt gate (SDM 3, 6.11 and 6.14.1), or a vector of real mode (20.1.4)."""
    handler = STUBS + 4 * vector
    if not mode.protected:
        return (handler - STUBS | STUBS >> 4 << 16).to_bytes(4, "little")
    word = handler | (CODE64 if mode.long else CODE32) << 16 | 0x8e << 40
    if mode.long and vector in IST_VECTORS:
        word |= 1 << 32
    return word.to_bytes(16 if mode.long else 8, "little")


def _page_tables() -> dict[int, int]:
    """Physical address of an entry of 8 bytes -> the entry; accessed and dirty, as those who walk them write that."""
    bits, table = PRESENT | WRITE | USER | USED, TABLES
    pages = {table + 0x3000 + 8 * (page >> 12): page | flags for page, flags in _pages()}
    lower = {table + 0x1000 * i: table + 0x1000 * (i + 1) | bits for i in range(3)}
    top = {table + 8 * 255: table + 0x4000 | bits, table + 0x4ff8: table + 0x5000 | bits,
           table + 0x5ff8: table + 0x6000 | bits, table + 0x6ff8: DATA + 0x3000 | bits}
    return pages | lower | top


def _pages() -> list[tuple[int, int]]:
    """(address, bits of its entry)."""
    def run(start: int, count: int, bits: int) -> list[tuple[int, int]]:
        return [(start + 0x1000 * i, PRESENT | USED | bits) for i in range(count)]
    return [*run(0, 3, 0), *run(CODE, CODE_BYTES >> 12, USER), *run(DATA, DATA_PAGES, WRITE | USER),
            *run(READ_ONLY, 1, USER), *run(SUPERVISOR, 1, WRITE), *run(STACK, STACK_PAGES, WRITE | USER),
            *run(HANDLERS_STACK, HANDLERS_PAGES, WRITE)]


def build(view: memoryview, mode: Mode) -> None:
    """Tables and handlers, into memory that is all zeroes."""
    def put(at: int, data: bytes) -> None:
        view[at:at + len(data)] = data
    size = 16 if mode.long else 8 if mode.protected else 4
    for vector in range(256):
        put(IDT + size * vector, _gate(vector, mode))
        put(STUBS + 4 * vector, bytes([0xe6, vector, 0xeb, 0xfe]))      # out vector, al; jmp to itself
    flat = 0xffffffff
    for selector, base, limit, access in (
            (CODE64, 0, flat, CODE_TYPE | G | L), (CODE32, 0, flat, CODE_TYPE | G | DB),
            (DATA32, 0, flat, DATA_TYPE | G | DB), (USER_CODE32, 0, flat, CODE_TYPE | 0x60 | G | DB),
            (USER_DATA, 0, flat, DATA_TYPE | 0x60 | G | DB), (USER_CODE64, 0, flat, CODE_TYPE | 0x60 | G | L),
            (TASK, TSS, TSS_LIMIT, 0x8b), (SMALL, DATA, 0x1fff, DATA_TYPE | 0x60 | DB)):
        put(GDT + (selector & ~7), _descriptor(base, limit, access).to_bytes(8, "little"))
    put(TSS + 0x66, PORTS_AT.to_bytes(2, "little"))
    put(TSS + TSS_LIMIT, b"\xff")
    if not mode.long:
        put(TSS + 4, (HANDLERS_STACK + 0x1000).to_bytes(4, "little") + DATA32.to_bytes(4, "little"))
        return
    put(TSS + 4, (HANDLERS_STACK + 0x1000).to_bytes(8, "little"))       # rsp0 (SDM 3, 7.7)
    put(TSS + 0x24, (HANDLERS_STACK + 0x2000).to_bytes(8, "little"))    # the first of the interrupt stacks
    for at, entry in _page_tables().items():
        put(at, entry.to_bytes(8, "little"))
