"""An ELF file as a loader sees it: header, program headers and notes (System V gABI, chapters 4 and 5).

Sections are never looked at: they are the linker's business, may be stripped or wrong.  pyelftools, which reads debug
information elsewhere, asks for them, and takes as long to import as a tenth of a VM's start.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

MAGIC = b"\x7fELF"
CLASSES = (1, 2)                # EI_CLASS: of 32 and of 64 bits
LITTLE_ENDIAN = 1               # EI_DATA
PN_XNUM = 0xffff                # the number of program headers is in a section header
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4
HEADERS_MOST = 64 << 10         # bytes of all program headers, as Linux has it (fs/binfmt_elf.c)
NOTES_MOST = 1 << 20            # bytes of a note segment that are looked at
# Ehdr behind its identification, and Phdr, whose fields have another order in each class
HEADERS = {1: struct.Struct("<HHIIIIIHHHHHH"), 2: struct.Struct("<HHIQQQIHHHHHH")}
HEADER_FIELDS = ("e_type e_machine e_version e_entry e_phoff e_shoff e_flags e_ehsize e_phentsize e_phnum e_shentsize "
                 "e_shnum e_shstrndx").split()
SEGMENTS = {1: struct.Struct("<8I"), 2: struct.Struct("<IIQQQQQQ")}
SEGMENT_FIELDS = {1: "p_type p_offset p_vaddr p_paddr p_filesz p_memsz p_flags p_align".split(),
                  2: "p_type p_flags p_offset p_vaddr p_paddr p_filesz p_memsz p_align".split()}


class ELFError(Exception):
    """The file is malformed; says how."""


class Elf:
    """A file's headers, looked at.  Raises ELFError if they are malformed, or of a class or byte order
    that x86 has not."""

    def __init__(self, file: BinaryIO):
        self.file, self.bytes = file, file.seek(0, os.SEEK_END)
        ident = self.read(0, 16, "its identification")
        if ident[:4] != MAGIC or ident[4] not in CLASSES or ident[5] != LITTLE_ENDIAN:
            raise ELFError(f"starts with {ident[:6].hex(' ')}")
        header = HEADERS[ident[4]]
        self.header = dict(zip(HEADER_FIELDS, header.unpack(self.read(16, header.size, "its header"))))
        self.segments = self._program_headers(SEGMENTS[ident[4]], SEGMENT_FIELDS[ident[4]])

    def __getitem__(self, name: str) -> int:
        """A field of the ELF header."""
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
            raise ELFError(f"ends at {self.bytes:#x}; {what} would lie from {at:#x} to {at + size:#x}")
        self.file.seek(at)

    def _program_headers(self, segment: struct.Struct, fields: list[str]) -> list[dict[str, int]]:
        count, size, at = self["e_phnum"], self["e_phentsize"], self["e_phoff"]
        if count and (count == PN_XNUM or size < segment.size):
            raise ELFError(f"{count} program headers of {size} bytes")
        if count * size > HEADERS_MOST:
            raise ELFError(f"{count} program headers of {size} bytes, more than {HEADERS_MOST} in all")
        table = self.read(at, count * size, "the program headers")
        return [dict(zip(fields, segment.unpack_from(table, i * size))) for i in range(count)]

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(name, type, descriptor) of each note; what follows a malformed one in its segment is left out."""
        for segment in self.segments:
            if segment["p_type"] == PT_NOTE:
                self._seek(segment["p_offset"], segment["p_filesz"], "its notes")
                yield from self._notes_in(self.file.read(min(segment["p_filesz"], NOTES_MOST)))

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
