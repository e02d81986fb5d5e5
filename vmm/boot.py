"""Put a guest into memory and say how its first vCPU starts.

An ELF with a PVH note starts in 32-bit mode (Xen's "PVH" boot protocol), any other 64-bit
ELF in long mode with 4 GiB mapped one to one and rdi pointing at the same start info; a flat
binary starts in real mode.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .memory import HIGH_START, GuestAddressError, GuestMemory

# Boot data, in the first 64 KiB: no guest may load over it.
GDT, START_INFO, MEMORY_MAP, MODULES, COMMAND_LINE, PAGE_TABLES = \
    0x500, 0x1000, 0x1100, 0x1800, 0x2000, 0x4000
BOOT_END = 0xa000
COMMAND_LINE_BYTES = PAGE_TABLES - COMMAND_LINE - 1

XEN_ELFNOTE_PHYS32_ENTRY = 18       # xen/include/public/elfnote.h
START_MAGIC = 0x336ec578            # xen/include/public/arch-x86/hvm/start_info.h
RAM = 1                             # e820 type


class BootError(UserError):
    """The guest's file cannot be booted."""


@dataclass(frozen=True)
class Entry:
    """How the first vCPU starts: `mode` is "pvh", "long" or "real"."""

    mode: str
    address: int


def load(memory: GuestMemory, path: Path, command_line: str, modules: list[Path],
         flat_address: int | None) -> Entry:
    """Load a guest.  Raises BootError."""
    data = _read(path)
    if flat_address is not None:
        _put(memory, flat_address, data, f"{path}")
        return Entry("real", flat_address)
    if data[:4] != b"\x7fELF":
        raise BootError(f"{path}: starts with {data[:4]!r}; wanted an ELF file, or --flat ADDRESS "
                        "for a flat binary")
    entry, top = _load_elf(memory, path)
    _start_info(memory, command_line, _load_modules(memory, modules, top))
    if entry.mode == "long":
        _page_tables(memory)
    return entry


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; wanted a guest to boot") from None


def _put(memory: GuestMemory, address: int, data: bytes, what: str) -> None:
    try:
        memory.write(address, data)
    except GuestAddressError as error:
        raise BootError(f"{what}: {error}") from None


def _load_elf(memory: GuestMemory, path: Path) -> tuple[Entry, int]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    top = BOOT_END
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] not in ("EM_X86_64", "EM_386"):
                raise BootError(f"{path}: for {elf['e_machine']}; wanted x86")
            segments = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and s["p_memsz"]]
            if not segments:
                raise BootError(f"{path}: nothing to load; wanted an executable")
            for segment in segments:
                start, size = segment["p_paddr"], segment["p_memsz"]
                if start < BOOT_END:
                    raise BootError(f"{path}: segment at {start:#x}; wanted {BOOT_END:#x} or more, "
                                    "as boot data lies below")
                _put(memory, start, segment.data(), f"{path}: segment")
                _put(memory, start + segment["p_filesz"], bytes(size - segment["p_filesz"]),
                     f"{path}: segment")
                top = max(top, start + size)
            pvh = _pvh_entry(elf)
            if pvh is not None:
                return Entry("pvh", pvh), top
            if elf["e_machine"] != "EM_X86_64":
                raise BootError(f"{path}: 32-bit and without a PVH note; wanted one or the other")
            return Entry("long", elf["e_entry"]), top
    except ELFError as error:
        raise BootError(f"{path}: {error}; wanted a well-formed ELF file") from None


def _pvh_entry(elf) -> int | None:
    for segment in elf.iter_segments():
        if segment["p_type"] != "PT_NOTE":
            continue
        for note in segment.iter_notes():
            if note["n_name"] == "Xen" and note["n_type"] in (XEN_ELFNOTE_PHYS32_ENTRY,
                                                              str(XEN_ELFNOTE_PHYS32_ENTRY)):
                return int.from_bytes(note["n_descdata"][:8], "little")
    return None


def _load_modules(memory: GuestMemory, modules: list[Path], top: int) -> list[tuple[int, int]]:
    placed = []
    for path in modules:
        data = _read(path)
        at = -(-top // 4096) * 4096
        _put(memory, at, data, f"{path}: module")
        placed.append((at, len(data)))
        top = at + len(data)
    return placed


def _start_info(memory: GuestMemory, command_line: str, modules: list[tuple[int, int]]) -> None:
    text = command_line.encode() + b"\0"
    if len(text) > COMMAND_LINE_BYTES:
        raise BootError(f"command line of {len(text)} bytes; wanted at most {COMMAND_LINE_BYTES}")
    ram = [(0, memory.low)] + ([(HIGH_START, memory.size - memory.low)] if memory.size > memory.low else [])
    if len(modules) > (COMMAND_LINE - MODULES) // 32:
        raise BootError(f"{len(modules)} modules; wanted at most {(COMMAND_LINE - MODULES) // 32}")
    memory.write(COMMAND_LINE, text)
    memory.write(MEMORY_MAP, b"".join(struct.pack("<QQII", at, size, RAM, 0) for at, size in ram))
    memory.write(MODULES, b"".join(struct.pack("<QQQQ", at, size, 0, 0) for at, size in modules))
    memory.write(START_INFO, struct.pack(
        "<IIIIQQQQII", START_MAGIC, 1, 0, len(modules), MODULES if modules else 0, COMMAND_LINE, 0,
        MEMORY_MAP, len(ram), 0))


def _page_tables(memory: GuestMemory) -> None:
    """4 GiB one to one in pages of 2 MiB: a PML4, a PDPT and four directories."""
    def table(at, entries):
        memory.write(at, struct.pack(f"<{len(entries)}Q", *entries))
    table(PAGE_TABLES, [PAGE_TABLES + 0x1000 | 3])
    table(PAGE_TABLES + 0x1000, [PAGE_TABLES + 0x2000 + i * 0x1000 | 3 for i in range(4)])
    table(PAGE_TABLES + 0x2000, [i << 21 | 0x83 for i in range(2048)])


# How the vCPU starts

def _segment(selector: int, kind: int, **more: int) -> dict:
    return {"base": 0, "limit": 0xffffffff, "selector": selector, "present": 1, "type": kind, "s": 1,
            "g": 1, **more}


def start(vcpu, memory: GuestMemory, entry: Entry) -> None:
    """Set the first vCPU's registers."""
    sregs = vcpu.get_sregs()
    if entry.mode == "real":
        sregs.cs.selector = 0 if entry.address < 0x10000 else entry.address >> 4
        sregs.cs.base = sregs.cs.selector << 4
        vcpu.set_sregs(sregs)
        vcpu.set_regs(rip=entry.address - sregs.cs.base)
        return
    long = entry.mode == "long"
    code, data = _segment(8, 11, l=1) if long else _segment(8, 11, db=1), _segment(16, 3, db=1)
    memory.write(GDT, struct.pack("<3Q", 0, 0x00af9b000000ffff if long else 0x00cf9b000000ffff,
                                  0x00cf93000000ffff))
    sregs.cs = code
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, data)
    sregs.tr = {"limit": 0x67, "present": 1, "type": 11}
    sregs.gdt = {"base": GDT, "limit": 23}
    sregs.cr0 = 0x80000011 if long else 0x11       # PE, ET, and PG
    if long:
        sregs.cr3, sregs.cr4, sregs.efer = PAGE_TABLES, 1 << 5, 0x500   # PAE; LME, LMA
    vcpu.set_sregs(sregs)
    vcpu.set_regs(rip=entry.address, rbx=START_INFO, rdi=START_INFO if long else 0)
