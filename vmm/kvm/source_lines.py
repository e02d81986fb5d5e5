"""Which line of C an instruction of a BPF object comes from: its line information (.BTF.ext), as the kernel
has it, and for what was inlined, the calls that led there (DWARF)."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .inlined import Inlined

INSTRUCTION = 8                             # bytes
CALL, LOAD_IMM64 = 0x85, 0x18               # opcodes (linux/bpf.h)
PSEUDO_CALL = 1                             # source register of a call between functions
EXECUTABLE = 4                              # SHF_EXECINSTR
LINE_SHIFT = 10                             # BPF_LINE_INFO_LINE_NUM()


@dataclass(frozen=True)
class Line:
    """A line of a source file."""

    file: str
    number: int
    text: str = ""      # as the compiler saw it, without indentation

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.number}"


@dataclass
class Function:
    """A function of the object; places are counted in instructions, from the section's start."""

    name: str
    section: int
    start: int
    count: int
    calls: list[int] = field(default_factory=list)      # its callees' places in the list, as they come


class SourceLines:
    """What a BPF object knows of its source; built with -g."""

    def __init__(self, path: Path):
        from elftools.elf.elffile import ELFFile
        self._built = path.stat().st_mtime
        with path.open("rb") as file:
            elf = ELFFile(file)
            self._code = {i: section for i, section in enumerate(elf.iter_sections())
                          if section["sh_flags"] & EXECUTABLE and section["sh_size"]}
            self._symbols = list(elf.get_section_by_name(".symtab").iter_symbols())
            self._targets = {i: self._relocations(elf, section) for i, section in self._code.items()}
            self.functions = [Function(symbol.name, symbol["st_shndx"], symbol["st_value"] // INSTRUCTION,
                                       symbol["st_size"] // INSTRUCTION)
                              for symbol in self._symbols if symbol["st_info"]["type"] == "STT_FUNC"
                              and symbol["st_shndx"] in self._code]
            for function in self.functions:
                function.calls = self._calls(function)
            self._records = self._lines(elf)
            self._inlined = Inlined(elf)

    def _relocations(self, elf, section) -> dict[int, object]:
        """Instruction of a section -> the symbol that it refers to."""
        found = elf.get_section_by_name(f".rel{section.name}")
        return {} if not found else {entry["r_offset"] // INSTRUCTION: self._symbols[entry["r_info_sym"]]
                                     for entry in found.iter_relocations()}

    def _calls(self, function: Function) -> list[int]:
        code, callees = self._code[function.section].data(), []
        for at in range(function.start, function.start + function.count):
            opcode, registers, _, immediate = struct.unpack_from("<BBhi", code, at * INSTRUCTION)
            symbol = self._targets[function.section].get(at)
            section = symbol["st_shndx"] if symbol else function.section
            base = symbol["st_value"] // INSTRUCTION if symbol else at
            if opcode == CALL and registers >> 4 == PSEUDO_CALL:
                callee = self._function_at(section, base + immediate + 1)
            elif opcode == LOAD_IMM64 and symbol and section in self._code:
                callee = self._function_at(section, base + immediate // INSTRUCTION)
            else:
                continue
            if callee is not None:
                callees.append(callee)
        return callees

    def _function_at(self, section: int, at: int) -> int | None:
        return next((i for i, function in enumerate(self.functions) if function.section == section
                     and function.start <= at < function.start + function.count), None)

    def _lines(self, elf) -> dict[int, list[tuple[int, Line]]]:
        """Section -> (first instruction, line), in order."""
        numbers = {section.name: number for number, section in self._code.items()}
        found: dict[int, list[tuple[int, Line]]] = {number: [] for number in self._code}
        for section, offset, line in _line_information(elf):
            if section in numbers:
                found[numbers[section]].append((offset // INSTRUCTION, line))
        return found

    def layout(self, program: str) -> list[tuple[int, Function]]:
        """Where each function is in a program as it is loaded: libbpf appends what is called to the program, each
        function once, where it first finds a call of it."""
        number = next((i for i, function in enumerate(self.functions) if function.name == program), None)
        if number is None:
            return []
        placed, end = {}, 0

        def place(number: int) -> None:
            nonlocal end
            placed[number] = end
            end += self.functions[number].count
            for callee in self.functions[number].calls:
                if callee not in placed:
                    place(callee)
        place(number)
        return [(base, self.functions[number]) for number, base in placed.items()]

    def line(self, function: Function, at: int) -> Line | None:
        """Of the instruction `at` of a function."""
        records = self._records[function.section]
        index = bisect_right(records, function.start + at, key=lambda record: record[0]) - 1
        return records[index][1] if index >= 0 and records[index][0] >= function.start else None

    def chain(self, function: Function, at: int) -> list[Line]:
        """The lines that an instruction is of: its own, then that of the call which was inlined, and so on."""
        own = self.line(function, at)
        calls = self._inlined.calls(function.name, (function.start + at) * INSTRUCTION)
        return [line for line in (own, *(self._told(*call) for call in calls)) if line and line.number]

    def _told(self, file: str, number: int) -> Line:
        """With its text: the compiler has kept that where an instruction is of just this line."""
        for records in self._records.values():
            for _, line in records:
                if (line.file, line.number) == (file, number):
                    return line
        with suppress(OSError, IndexError):     # the file may be elsewhere, or have changed
            if os.path.getmtime(file) <= self._built:
                return Line(file, number, Path(file).read_text(errors="replace").splitlines()[number - 1].strip())
        return Line(file, number)

    def definition(self, name: str) -> Line | None:
        """Where a function begins."""
        found = next((self.line(function, 0) for function in self.functions if function.name == name), None)
        return found if found and found.number else None

    def with_text(self, text: str) -> Line | None:
        """The only line that reads so, if it is the only one."""
        found = {line for records in self._records.values() for _, line in records if line.text == text}
        return found.pop() if text and len(found) == 1 else None

    def use_of(self, name: str) -> Line | None:
        """Where a function that the object lacks is first called."""
        for function in self.functions:
            for at, symbol in sorted(self._targets[function.section].items()):
                if symbol.name == name and 0 <= at - function.start < function.count:
                    return self.own(self.chain(function, at - function.start))
        return None

    def own(self, chain: list[Line]) -> Line | None:
        """The innermost line that is in the handler's own files: those in the folder of what was compiled."""
        return next((line for line in chain if os.path.dirname(line.file) == self._inlined.folder),
                    chain[0] if chain else None)


def _line_information(elf) -> Iterator[tuple[str, int, Line]]:
    """(section, offset, line) of every record: struct btf_header and btf_ext_header, and what they lead to
    (Documentation/bpf/btf.rst)."""
    types, more = (elf.get_section_by_name(name) for name in (".BTF", ".BTF.ext"))
    if not types or not more:
        return
    types, more = types.data(), more.data()
    header, at = struct.unpack_from("<4xI8xI", types)
    strings = header + at

    def text(offset: int) -> str:
        return types[strings + offset:types.index(b"\0", strings + offset)].decode(errors="replace")
    header, at, length = struct.unpack_from("<4xI8xII", more)
    at, end = header + at, header + at + length
    size = struct.unpack_from("<I", more, at)[0] if length else 0
    at += 4
    while at < end:
        section, count = struct.unpack_from("<II", more, at)
        at += 8
        for record in range(at, at + count * size, size):
            offset, file, source, place = struct.unpack_from("<IIII", more, record)
            yield text(section), offset, Line(os.path.normpath(text(file)), place >> LINE_SHIFT, text(source).strip())
        at += count * size
