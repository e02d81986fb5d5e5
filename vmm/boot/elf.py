"""An ELF file as a loader sees it: header, program headers and notes (System V gABI, chapters 4 and 5).

Sections are never looked at: they are the linker's business, may be stripped or wrong, and pyelftools
asks for them wherever it makes a segment.  Its structs are used alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from elftools.common.exceptions import ELFError, ELFParseError
from elftools.common.utils import struct_parse
from elftools.elf.structs import ELFStructs

__all__ = ["ELFError", "Elf"]

MAGIC = b"\x7fELF"
CLASSES = {1: 32, 2: 64}        # EI_CLASS
LITTLE_ENDIAN = 1               # EI_DATA
PN_XNUM = 0xffff                # the number of program headers is in a section header


class Elf:
    """A file's headers, looked at.  Raises ELFError if they are malformed, or of a class or byte order
    that x86 has not."""

    def __init__(self, file: BinaryIO):
        self.file, self.bytes = file, file.seek(0, os.SEEK_END)
        ident = self.read(0, 16, "its identification")
        if ident[:4] != MAGIC or ident[4] not in CLASSES or ident[5] != LITTLE_ENDIAN:
            raise ELFParseError(f"starts with {ident[:6].hex(' ')}")
        self._structs = ELFStructs(little_endian=True, elfclass=CLASSES[ident[4]])
        self._structs.create_basic_structs()
        self.header = struct_parse(self._structs.Elf_Ehdr, file, 0)
        self._structs.create_advanced_structs(self.header["e_type"], self.header["e_machine"])
        self.segments = self._program_headers()

    def __getitem__(self, name: str):
        """A field of the ELF header, as pyelftools names it."""
        return self.header[name]

    def read(self, at: int, size: int, what: str) -> bytes:
        """`size` bytes of the file.  Raises ELFError if it is shorter."""
        self._seek(at, size, what)
        return self.file.read(size)

    def read_into(self, at: int, buffer: memoryview, what: str) -> None:
        """Fill a buffer from the file.  Raises ELFError if it is shorter."""
        self._seek(at, len(buffer), what)
        self.file.readinto(buffer)

    def _seek(self, at: int, size: int, what: str) -> None:
        if at + size > self.bytes:
            raise ELFParseError(f"ends at {self.bytes:#x}; {what} would lie from {at:#x} to {at + size:#x}")
        self.file.seek(at)

    def _program_headers(self) -> list:
        count, size, at = self["e_phnum"], self["e_phentsize"], self["e_phoff"]
        struct = self._structs.Elf_Phdr
        if count and (count == PN_XNUM or size < struct.sizeof()):
            raise ELFParseError(f"{count} program headers of {size} bytes")
        table = self.read(at, count * size, "the program headers")
        return [struct.parse(table[i * size:]) for i in range(count)]

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(name, type, descriptor) of each note; what follows a malformed one in its segment is left out."""
        for segment in self.segments:
            if segment["p_type"] == "PT_NOTE":
                yield from self._notes_in(self.read(segment["p_offset"], segment["p_filesz"], "its notes"))

    @staticmethod
    def _notes_in(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Three words, then name and descriptor, each padded to a multiple of 4 bytes."""
        at = 0
        while at + 12 <= len(data):
            name_bytes, bytes_, kind = (int.from_bytes(data[at + 4 * i:at + 4 * i + 4], "little") for i in range(3))
            name_at = at + 12
            descriptor_at = name_at + (name_bytes + 3 & ~3)
            at = descriptor_at + (bytes_ + 3 & ~3)
            if descriptor_at + bytes_ <= len(data):
                yield data[name_at:name_at + name_bytes].rstrip(b"\0"), kind, data[descriptor_at:descriptor_at + bytes_]
