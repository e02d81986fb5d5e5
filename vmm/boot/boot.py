"""Put a guest into memory and say how its first vCPU starts.

An ELF with a PVH note starts in 32-bit mode (Xen's "PVH" boot protocol), one without it that has a
Multiboot header in 32-bit mode as Multiboot has it, any other 64-bit
ELF in long mode with 4 GiB mapped one to one and rdi pointing at the same start info; a
bzImage in long mode, as Linux's boot protocol has it; any other file whose Multiboot header has addresses
as Multiboot has it; a flat binary in real mode.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from ..devmodel.record import record
from ..kvm.addresses import MIB
from ..kvm.memory import GuestMemory
from . import multiboot
from .acpi import RSDP
from .bzimage import BzImage, is_bzimage
from .compressed import open_guest
from .elf import EM_386, EM_X86_64, PT_LOAD, Elf, ELFError
from .loading import BootError, check_place, load_modules, load_segment, memory_map, put, read_file

# Boot data, in the first 64 KiB: no guest may load over it, but for one by Multiboot, whose data lies elsewhere.
GDT, START_INFO, MEMORY_MAP, MODULES, COMMAND_LINE, PAGE_TABLES, PARAMETERS = \
    0x500, 0x1000, 0x1100, 0x1800, 0x2000, 0x4000, 0xa000
BOOT_END = 0xb000
GDT_BYTES = 32
HEAD_BYTES = multiboot.SEARCH_BYTES     # that tell what a file is
COMMAND_LINE_BYTES = PAGE_TABLES - COMMAND_LINE - 1

XEN_ELFNOTE_PHYS32_ENTRY = 18       # xen/include/public/elfnote.h
START_MAGIC = 0x336ec578            # xen/include/public/arch-x86/hvm/start_info.h


@record
class Entry:
    """How the first vCPU starts: `mode` is "pvh", "multiboot", "long", "linux" or "real".  Guest-physical `info` is
    what the guest is told of, `table` where its GDT is put."""

    mode: str
    address: int
    info: int = START_INFO
    table: int = GDT


def load(memory: GuestMemory, path: Path, command_line: str, modules: list[Path],
         flat_address: int | None, what: str = "module") -> Entry:
    """Load a guest; `what` its modules are called in errors.  Raises BootError, or another UserError."""
    if flat_address is not None:
        put(memory, flat_address, read_file(path, "a guest to boot, no larger than its memory", memory.size), f"{path}")
        return Entry("real", flat_address)
    with open_guest(path) as file:
        head = file.read(HEAD_BYTES)
        if is_bzimage(head):
            return _load_linux(memory, BzImage(path, head + file.read(memory.low)), command_line, modules)
        header = multiboot.find(head)
        if head[:4] == b"\x7fELF":
            mode, address, taken = _load_elf(memory, path, file, header)
        elif header and header.addresses:
            mode, address, taken = "multiboot", *multiboot.load_image(memory, path, file, header)
        else:
            raise BootError(f"{path}: starts with {head[:4]!r}; wanted an ELF file, a bzImage, a Multiboot header with "
                            "addresses, or --flat ADDRESS for a flat binary")
    bottom = max(end for _, end in taken)
    placed = load_modules(memory, modules, max(bottom, MIB) if mode == "multiboot" else bottom, memory.low, what)
    if mode == "multiboot":
        named = [multiboot.Module(*at, module.name) for at, module in zip(placed, modules, strict=True)]
        table = multiboot.put_information(memory, path, command_line, named, taken, GDT_BYTES)
        return Entry(mode, address, table + GDT_BYTES, table)
    _start_info(memory, command_line, placed)
    if mode == "long":
        _page_tables(memory)
    return Entry(mode, address)


def _load_linux(memory: GuestMemory, kernel: BzImage, command_line: str, modules: list[Path]) -> Entry:
    if len(modules) > 1:
        raise BootError(f"{len(modules)} modules for a bzImage; wanted one, its initrd")
    address = kernel.load(memory)
    _put_command_line(memory, command_line, min(COMMAND_LINE_BYTES, kernel.command_line_bytes))
    placed = load_modules(memory, modules, kernel.end, min(memory.low, kernel.initrd_limit), "initrd")
    memory.write(PARAMETERS, kernel.parameters(COMMAND_LINE, placed[0] if placed else (0, 0), RSDP,
                                               memory_map(memory)))
    _page_tables(memory)
    return Entry("linux", address)


def _load_elf(memory: GuestMemory, path: Path, file: BinaryIO,
              header: multiboot.Header | None) -> tuple[str, int, list[tuple[int, int]]]:
    """An entry's mode and address, and what memory is taken: (start, end) of each run."""
    try:
        elf = Elf(file)
        if elf["e_machine"] not in (EM_X86_64, EM_386):
            raise BootError(f"{path}: for machine {elf['e_machine']} (e_machine); wanted x86")
        pvh = _pvh_entry(elf)
        if pvh is not None:
            return "pvh", pvh, _load_segments(memory, path, elf, BOOT_END)
        if header and header.addresses:
            return "multiboot", *multiboot.load_image(memory, path, file, header)
        if header:
            header.check(path)
            return "multiboot", _physical_entry(elf), _load_segments(memory, path, elf, 0)
        if elf["e_machine"] != EM_X86_64:
            raise BootError(f"{path}: 32-bit, without a PVH note or a Multiboot header; wanted one of the three")
        return "long", elf["e_entry"], _load_segments(memory, path, elf, BOOT_END)
    except ELFError as error:
        raise BootError(f"{path}: {error}; wanted a well-formed ELF file") from None


def _load_segments(memory: GuestMemory, path: Path, elf, lowest: int) -> list[tuple[int, int]]:
    """Where they went; `lowest` is where none may lie below."""
    taken = []
    room = memory.size      # beside each other: else few headers could have all of RAM cleared again and again
    for segment in elf.segments:
        start, size = segment["p_paddr"], segment["p_memsz"]
        if segment["p_type"] == PT_LOAD and size:
            check_place(path, start, size, lowest)
            room -= size
            if room < 0:
                raise BootError(f"{path}: segments of more bytes than RAM has, {memory.size:#x}; wanted them beside "
                                "each other")
            load_segment(memory, path, elf, segment)
            taken.append((start, start + size))
    if not taken:
        raise BootError(f"{path}: nothing to load; wanted an executable")
    return taken


def _physical_entry(elf) -> int:
    """An ELF's entry is a virtual address; this is where that is loaded, as Multiboot starts without paging."""
    entry = elf["e_entry"]
    for segment in elf.segments:
        if segment["p_type"] == PT_LOAD and 0 <= entry - segment["p_vaddr"] < segment["p_memsz"]:
            return entry - segment["p_vaddr"] + segment["p_paddr"]
    return entry


def _pvh_entry(elf) -> int | None:
    for name, kind, descriptor in elf.notes():
        if name == b"Xen" and kind == XEN_ELFNOTE_PHYS32_ENTRY:
            return int.from_bytes(descriptor[:8], "little")
    return None


def _put_command_line(memory: GuestMemory, command_line: str, most: int) -> None:
    text = os.fsencode(command_line)        # bytes that are no text are the user's to give
    if len(text) > most:
        raise BootError(f"--append: a command line of {len(text)} bytes; wanted at most {most}")
    memory.write(COMMAND_LINE, text + b"\0")


def _start_info(memory: GuestMemory, command_line: str, modules: list[tuple[int, int]]) -> None:
    ranges = memory_map(memory)
    if len(modules) > (COMMAND_LINE - MODULES) // 32:
        raise BootError(f"{len(modules)} modules; wanted at most {(COMMAND_LINE - MODULES) // 32}")
    _put_command_line(memory, command_line, COMMAND_LINE_BYTES)
    memory.write(MEMORY_MAP, b"".join(struct.pack("<QQII", *entry, 0) for entry in ranges))
    memory.write(MODULES, b"".join(struct.pack("<QQQQ", at, size, 0, 0) for at, size in modules))
    memory.write(START_INFO, struct.pack(
        "<IIIIQQQQII", START_MAGIC, 1, 0, len(modules), MODULES if modules else 0, COMMAND_LINE, RSDP,
        MEMORY_MAP, len(ranges), 0))


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
    long = entry.mode not in ("pvh", "multiboot")
    # Linux wants its own selectors: __BOOT_CS and __BOOT_DS
    selector = 16 if entry.mode == "linux" else 8
    code = _segment(selector, 11, l=1) if long else _segment(selector, 11, db=1)
    data = _segment(selector + 8, 3, db=1)
    table = {selector: 0x00af9b000000ffff if long else 0x00cf9b000000ffff, selector + 8: 0x00cf93000000ffff}
    memory.write(entry.table, struct.pack("<4Q", *(table.get(8 * i, 0) for i in range(4))))
    sregs.cs = code
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, data)
    sregs.tr = {"limit": 0x67, "present": 1, "type": 11}
    sregs.gdt = {"base": entry.table, "limit": GDT_BYTES - 1}
    sregs.cr0 = 0x80000011 if long else 0x11       # PE, ET, and PG
    if long:
        sregs.cr3, sregs.cr4, sregs.efer = PAGE_TABLES, 1 << 5, 0x500   # PAE; LME, LMA
    vcpu.set_sregs(sregs)
    vcpu.set_regs(rip=entry.address, rax=multiboot.LOADED if entry.mode == "multiboot" else 0, rbx=entry.info,
                  rdi=entry.info if entry.mode == "long" else 0, rsi=PARAMETERS if entry.mode == "linux" else 0)
