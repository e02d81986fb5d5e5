"""Multiboot, as version 0.6.96 of its specification has it: the header in a kernel's file, and the information
that the kernel is given.  Section numbers are of that specification."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ..devmodel.record import record
from ..kvm.addresses import CONVENTIONAL_END, KIB, MIB
from ..kvm.memory import GuestAddressError, GuestMemory
from .loading import BootError, check_place, memory_map

MAGIC = 0x1badb002              # of the header (3.1.1)
LOADED = 0x2badb002             # in eax, where a kernel starts (3.2)
SEARCH_BYTES = 8192             # of the file: the header lies in them, at a multiple of 4 (3.1)
MAGIC_BYTES, ADDRESSES_BYTES = 12, 20   # magic, flags and checksum; the fields behind them
WANTS = 0xffff                  # flags whose bits a loader must understand (3.1.2)
WANTS_PAGES, WANTS_MEMORY = 1, 2        # modules on page boundaries; the memory's sizes
HAS_ADDRESSES = 1 << 16

# flags of the information, for those of its fields that are valid (3.3)
MEMORY, COMMAND_LINE, MODULES, MEMORY_MAP, LOADER_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
INFORMATION = struct.Struct("<11I 6I 48x")      # to the framebuffer's fields, of which there are none
MODULE = struct.Struct("<4I")                   # start, end, string, reserved
MAP_ENTRY = struct.Struct("<IQQI")              # bytes behind this field, base, length, type
NAME = "splitvmm"

LOWEST, PAGE = 0x1000, 4096     # below LOWEST are interrupt vectors and the BIOS's data


@record
class Image:
    """A kernel that its header places: `file_bytes` from `file_at` on go to guest-physical `start`, zeros follow up
    to `end`, and it starts at `entry`."""

    file_at: int
    file_bytes: int
    start: int
    end: int
    entry: int


@record
class Header:
    """A header, at offset `at` of its file; `addresses` are header_addr, load_addr, load_end_addr, bss_end_addr and
    entry_addr, if it has them (3.1.3)."""

    at: int
    flags: int
    addresses: tuple[int, ...] = ()

    def check(self, path: Path) -> None:
        """Raises BootError where it wants what this loader does not have."""
        unknown = self.flags & WANTS & ~(WANTS_PAGES | WANTS_MEMORY)
        if unknown:
            raise BootError(f"{path}: its Multiboot header wants {unknown:#x} of the loader (4: a video mode); wanted "
                            "no more than page boundaries for modules and the memory's sizes, 3")

    def image(self, path: Path, size: int) -> Image:
        """Where the addresses place a file of `size` bytes.  Raises BootError."""
        header, start, load_end, bss_end, entry = self.addresses
        file_at = self.at - (header - start)
        file_bytes = load_end - start if load_end else size - file_at
        if not 0 <= file_at <= self.at or file_bytes < 0 or file_at + file_bytes > size:
            raise BootError(f"{path}: its Multiboot header, at {self.at:#x} of {size:#x} bytes, has header_addr "
                            f"{header:#x}, load_addr {start:#x} and load_end_addr {load_end:#x}; wanted them inside "
                            "the file")
        end = start + file_bytes
        if bss_end and bss_end < end:
            raise BootError(f"{path}: its Multiboot header has bss_end_addr {bss_end:#x}; wanted {end:#x}, where what "
                            "is loaded ends, or above")
        return Image(file_at, file_bytes, start, bss_end or end, entry)


def load_image(memory: GuestMemory, path: Path, file: BinaryIO, header: Header) -> tuple[int, list[tuple[int, int]]]:
    """Read a file to where its header's addresses say; where it starts, and what memory it takes.  Raises BootError."""
    header.check(path)
    image = header.image(path, file.seek(0, os.SEEK_END))
    size = image.end - image.start
    check_place(path, image.start, size)
    try:
        at = memory.offset(image.start, size)
    except GuestAddressError as error:
        raise BootError(f"{path}: {error}") from None
    file.seek(image.file_at)
    file.readinto(memory.view[at:at + image.file_bytes])
    memory.view[at + image.file_bytes:at + size] = bytes(size - image.file_bytes)
    return image.entry, [(image.start, image.end)]


def find(head: bytes) -> Header | None:
    """The header in the first bytes of a file, if there is one."""
    head = head[:SEARCH_BYTES]
    magic = MAGIC.to_bytes(4, "little")
    at = head.find(magic)
    while at >= 0:
        if at % 4 == 0 and (found := _header(head, at)):
            return found
        at = head.find(magic, at + 1)
    return None


def _header(head: bytes, at: int) -> Header | None:
    if at + MAGIC_BYTES > len(head):
        return None
    magic, flags, checksum = struct.unpack_from("<3I", head, at)
    if magic + flags + checksum & 0xffffffff:
        return None
    if not flags & HAS_ADDRESSES:
        return Header(at, flags)
    if at + MAGIC_BYTES + ADDRESSES_BYTES > len(head):
        return None
    return Header(at, flags, struct.unpack_from("<5I", head, at + MAGIC_BYTES))


# What the kernel is given

@record
class Module:
    """A boot module in memory: guest-physical address, bytes, and its string."""

    start: int
    bytes: int
    string: str


def put_information(memory: GuestMemory, path: Path, command_line: str, modules: list[Module],
                    taken: list[tuple[int, int]], before: int) -> int:
    """Put it where the kernel, which has `taken`, and its modules leave room; returns where `before` bytes of room
    begin that the information follows.  Its command line begins with the kernel's name, as GRUB has it."""
    words, ranges = f"{path.name} {command_line}".rstrip(), memory_map(memory)
    size = before + len(information(0, words, modules, memory.low, ranges))
    taken = [*taken, *((module.start, module.start + module.bytes) for module in modules)]
    at = free_place(size, taken, memory.low)
    if at is None:
        raise BootError(f"{path}: leaves no room for Multiboot's information, {size} bytes; wanted that much free "
                        "below 640 KiB or above 1 MiB (--mem)")
    memory.write(at + before, information(at + before, words, modules, memory.low, ranges))
    return at


def information(at: int, command_line: str, modules: list[Module], low: int,
                memory_map: list[tuple[int, int, int]]) -> bytes:
    """The information structure, and all that it points to, to be put at `at`; its length depends on no address.
    `low` is where the memory from 1 MiB on ends; `memory_map` of (address, bytes, E820 type)."""
    strings = [text.encode(errors="surrogateescape") + b"\0"
               for text in (command_line, *(module.string for module in modules), NAME)]
    map_at = at + INFORMATION.size
    modules_at = map_at + MAP_ENTRY.size * len(memory_map)
    places, next_at = [], modules_at + MODULE.size * len(modules)
    for text in strings:
        places.append(next_at)
        next_at += len(text)
    head = INFORMATION.pack(
        MEMORY | COMMAND_LINE | MODULES | MEMORY_MAP | LOADER_NAME, CONVENTIONAL_END // KIB, max(low - MIB, 0) // KIB,
        0, places[0], len(modules), modules_at, 0, 0, 0, 0,
        MAP_ENTRY.size * len(memory_map), map_at, 0, 0, 0, places[-1])
    return b"".join([head, *(MAP_ENTRY.pack(MAP_ENTRY.size - 4, *entry) for entry in memory_map),
                     *(MODULE.pack(module.start, module.start + module.bytes, string, 0)
                       for module, string in zip(modules, places[1:], strict=False)), *strings])


def free_place(size: int, taken: Iterable[tuple[int, int]], low: int) -> int | None:
    """Where `size` bytes lie clear of `taken`, each (start, end): the highest page below 640 KiB, as a kernel takes the
    memory behind itself for its own, else below `low`."""
    downwards = sorted(taken, reverse=True)
    for bottom, top in ((LOWEST, CONVENTIONAL_END), (MIB, low)):
        at = (top - size) // PAGE * PAGE
        for start, end in downwards:
            if start < at + size and at < end:
                at = (start - size) // PAGE * PAGE
        if at >= bottom:
            return at
    return None
