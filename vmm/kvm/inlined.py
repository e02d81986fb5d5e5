"""Calls that the compiler inlined into functions of a BPF object, from its DWARF."""

from __future__ import annotations

import os

SCOPES = ("DW_TAG_inlined_subroutine", "DW_TAG_lexical_block")


class Inlined:
    """The debug information of one object, which is of one source file; read as a whole."""

    def __init__(self, elf):
        self.folder = ""        # of the source file
        self._calls: dict[str, list] = {}       # function -> (ranges, file, line) of each call, outer ones first
        if not elf.has_dwarf_info():
            return
        self._dwarf = elf.get_dwarf_info()
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE()
            home = _text(top, "DW_AT_comp_dir")
            self.folder = os.path.dirname(os.path.normpath(os.path.join(home, _text(top, "DW_AT_name"))))
            self._files = _files(self._dwarf.line_program_for_CU(unit), home)
            for entry in top.iter_children():
                if entry.tag == "DW_TAG_subprogram" and "DW_AT_low_pc" in entry.attributes:
                    self._collect(unit, entry, self._calls.setdefault(_name(entry), []))

    def _collect(self, unit, entry, calls: list) -> None:
        for child in entry.iter_children():
            if child.tag not in SCOPES:
                continue
            if child.tag == SCOPES[0]:
                calls.append((self._ranges(unit, child), self._files.get(_number(child, "DW_AT_call_file"), ""),
                              _number(child, "DW_AT_call_line")))
            self._collect(unit, child, calls)

    def _ranges(self, unit, entry) -> list[tuple[int, int]]:
        """What addresses an entry has: of the object's sections, which all start at 0."""
        if "DW_AT_ranges" not in entry.attributes:
            low = _number(entry, "DW_AT_low_pc")
            return [(low, low + _number(entry, "DW_AT_high_pc"))]
        base, found = 0, []
        for item in self._dwarf.range_lists().get_range_list_at_offset(_number(entry, "DW_AT_ranges"), unit):
            if hasattr(item, "base_address"):
                base = item.base_address
            else:
                start = 0 if item.is_absolute else base
                found.append((start + item.begin_offset, start + item.end_offset))
        return found

    def calls(self, function: str, address: int) -> list[tuple[str, int]]:
        """(file, line) of the calls by which code was inlined at an address of a function, the innermost first."""
        return [(file, line) for ranges, file, line in reversed(self._calls.get(function, []))
                if file and line and any(low <= address < high for low, high in ranges)]


def _files(program, home: str) -> dict[int, str]:
    """Number -> path."""
    if program is None:
        return {}
    folders = [os.path.join(home, folder.decode()) for folder in program["include_directory"]]
    first = 0
    if program["version"] < 5:
        folders, first = [home, *folders], 1
    return {number: os.path.normpath(os.path.join(folders[entry.dir_index], entry.name.decode()))
            for number, entry in enumerate(program["file_entry"], first)}


def _name(entry) -> str:
    while "DW_AT_name" not in entry.attributes and "DW_AT_abstract_origin" in entry.attributes:
        entry = entry.get_DIE_from_attribute("DW_AT_abstract_origin")
    return _text(entry, "DW_AT_name")


def _text(entry, attribute: str) -> str:
    found = entry.attributes.get(attribute)
    return found.value.decode() if found else ""


def _number(entry, attribute: str) -> int:
    found = entry.attributes.get(attribute)
    return found.value if found else 0
