"""Put a guest into memory and say how its first vCPU starts.

An ELF with a PVH note starts in 32-bit mode (Xen's "PVH" boot protocol), any other 64-bit
ELF in long mode with 4 GiB mapped one to one and rdi pointing at the same start info; a
bzImage in long mode, as Linux's boot protocol has it; a flat binary in real mode.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..kvm.addresses import ACPI_END, ACPI_TABLES, CONVENTIONAL_END, ECAM, ECAM_BYTES, HIGH_START, MIB
from ..kvm.memory import GuestAddressError, GuestMemory
from .acpi import RSDP
from .bzimage import BzImage, is_bzimage

# Boot data, in the first 64 KiB: no guest may load over it.
GDT, START_INFO, MEMORY_MAP, MODULES, COMMAND_LINE, PAGE_TABLES, PARAMETERS = \
    0x500, 0x1000, 0x1100, 0x1800, 0x2000, 0x4000, 0xa000
BOOT_END = 0xb000
HEAD_BYTES = 1024                   # that tell what a file is
COMMAND_LINE_BYTES = PAGE_TABLES - COMMAND_LINE - 1

XEN_ELFNOTE_PHYS32_ENTRY = 18       # xen/include/public/elfnote.h
START_MAGIC = 0x336ec578            # xen/include/public/arch-x86/hvm/start_info.h
RAM, RESERVED, ACPI = 1, 2, 3       # E820 types


class BootError(UserError):
    """The guest's file cannot be booted."""


@dataclass(frozen=True)
class Entry:
    """How the first vCPU starts: `mode` is "pvh", "long", "linux" or "real"."""

    mode: str
    address: int


def load(memory: GuestMemory, path: Path, command_line: str, modules: list[Path],
         flat_address: int | None) -> Entry:
    """Load a guest.  Raises BootError, or another UserError."""
    if flat_address is not None:
        _put(memory, flat_address, _read(path), f"{path}")
        return Entry("real", flat_address)
    head = _read(path, HEAD_BYTES)
    if is_bzimage(head):
        return _load_linux(memory, BzImage(path, _read(path)), command_line, modules)
    if head[:4] != b"\x7fELF":
        raise BootError(f"{path}: starts with {head[:4]!r}; wanted an ELF file, a bzImage, or --flat ADDRESS "
                        "for a flat binary")
    entry, top = _load_elf(memory, path)
    placed = _load_modules(memory, modules, top, memory.low)
    _start_info(memory, command_line, placed)
    if entry.mode == "long":
        _page_tables(memory)
    return entry


def memory_map(memory: GuestMemory) -> list[tuple[int, int, int]]:
    """What lies where, as firmware would tell: (address, bytes, E820 type)."""
    found = [(0, CONVENTIONAL_END, RAM), (ACPI_TABLES, ACPI_END - ACPI_TABLES, ACPI)]
    if memory.low > MIB:
        found.append((MIB, memory.low - MIB, RAM))
    found.append((ECAM, ECAM_BYTES, RESERVED))
    if memory.size > memory.low:
        found.append((HIGH_START, memory.size - memory.low, RAM))
    return found


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; wanted a guest to boot") from None


def _put(memory: GuestMemory, address: int, data: bytes, what: str) -> None:
    try:
        memory.write(address, data)
    except GuestAddressError as error:
        raise BootError(f"{what}: {error}") from None


def _load_linux(memory: GuestMemory, kernel: BzImage, command_line: str, modules: list[Path]) -> Entry:
    if len(modules) > 1:
        raise BootError(f"{len(modules)} modules for a bzImage; wanted one, its initrd")
    address = kernel.load(memory)
    _put_command_line(memory, command_line, min(COMMAND_LINE_BYTES, kernel.command_line_bytes))
    placed = _load_modules(memory, modules, kernel.end, min(memory.low, kernel.initrd_limit))
    memory.write(PARAMETERS, kernel.parameters(COMMAND_LINE, placed[0] if placed else (0, 0), RSDP,
                                               memory_map(memory)))
    _page_tables(memory)
    return Entry("linux", address)


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
                if start < BOOT_END or (start < ACPI_END and start + size > ACPI_TABLES):
                    raise BootError(f"{path}: segment from {start:#x} to {start + size:#x}; wanted it above "
                                    f"{BOOT_END:#x}, as boot data lies below, and not over the ACPI tables, "
                                    f"{ACPI_TABLES:#x} to {ACPI_END:#x}")
                _load_segment(memory, path, file, segment)
                top = max(top, start + size)
            pvh = _pvh_entry(elf)
            if pvh is not None:
                return Entry("pvh", pvh), top
            if elf["e_machine"] != "EM_X86_64":
                raise BootError(f"{path}: 32-bit and without a PVH note; wanted one or the other")
            return Entry("long", elf["e_entry"]), top
    except ELFError as error:
        raise BootError(f"{path}: {error}; wanted a well-formed ELF file") from None


def _load_segment(memory: GuestMemory, path: Path, file, segment) -> None:
    """Read a segment into memory, without a copy on the way; the rest of it is zeros."""
    start, length, size = segment["p_paddr"], segment["p_filesz"], segment["p_memsz"]
    try:
        at = memory.offset(start, size)
    except GuestAddressError as error:
        raise BootError(f"{path}: segment: {error}") from None
    file.seek(segment["p_offset"])
    if file.readinto(memory.view[at:at + length]) != length:
        raise BootError(f"{path}: ends inside a segment of {length:#x} bytes; wanted all of it")
    memory.view[at + length:at + size] = bytes(size - length)


def _pvh_entry(elf) -> int | None:
    for segment in elf.iter_segments():
        if segment["p_type"] != "PT_NOTE":
            continue
        for note in segment.iter_notes():
            if note["n_name"] == "Xen" and note["n_type"] in (XEN_ELFNOTE_PHYS32_ENTRY,
                                                              str(XEN_ELFNOTE_PHYS32_ENTRY)):
                return int.from_bytes(note["n_descdata"][:8], "little")
    return None


def _load_modules(memory: GuestMemory, modules: list[Path], bottom: int, top: int) -> list[tuple[int, int]]:
    """Put modules as high as they go below `top`, out of a kernel's way; (address, bytes) of each."""
    placed = []
    for path in modules:
        data = _read(path)
        top = (top - len(data)) // 4096 * 4096
        if top < bottom:
            raise BootError(f"{path}: {len(data)} bytes, which do not fit between the kernel and the end of "
                            f"{memory.size >> 20} MiB of RAM; wanted more memory (--mem)")
        _put(memory, top, data, f"{path}: module")
        placed.append((top, len(data)))
    return placed


def _put_command_line(memory: GuestMemory, command_line: str, most: int) -> None:
    text = command_line.encode()
    if len(text) > most:
        raise BootError(f"command line of {len(text)} bytes; wanted at most {most}")
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
    long = entry.mode != "pvh"
    # Linux wants its own selectors: __BOOT_CS and __BOOT_DS
    selector = 16 if entry.mode == "linux" else 8
    code = _segment(selector, 11, l=1) if long else _segment(selector, 11, db=1)
    data = _segment(selector + 8, 3, db=1)
    table = {selector: 0x00af9b000000ffff if long else 0x00cf9b000000ffff, selector + 8: 0x00cf93000000ffff}
    memory.write(GDT, struct.pack("<4Q", *(table.get(8 * i, 0) for i in range(4))))
    sregs.cs = code
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, data)
    sregs.tr = {"limit": 0x67, "present": 1, "type": 11}
    sregs.gdt = {"base": GDT, "limit": 31}
    sregs.cr0 = 0x80000011 if long else 0x11       # PE, ET, and PG
    if long:
        sregs.cr3, sregs.cr4, sregs.efer = PAGE_TABLES, 1 << 5, 0x500   # PAE; LME, LMA
    vcpu.set_sregs(sregs)
    vcpu.set_regs(rip=entry.address, rbx=START_INFO, rdi=START_INFO if entry.mode == "long" else 0,
                  rsi=PARAMETERS if entry.mode == "linux" else 0)
