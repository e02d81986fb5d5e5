"""The schema against the DWARF of a built object, BPF or native.

The compiler's own word on every offset, so that a stale object or a header edited by
hand is refused before it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .layout import BlockLayout


class AbiMismatch(RuntimeError):
    """A built object disagrees with its schema: names object, struct, field and both offsets."""


def check_object(path: Path, blocks: list[BlockLayout], required: tuple[str, ...] = ()) -> int:
    """Hold every struct of `blocks` that the object knows against its schema.

    Returns how many structs were compared.  Raises AbiMismatch, also if the object lacks
    debug information or one of the `required` structs.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    wanted = {block.c_name: block for block in blocks}
    try:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            if not elf.has_dwarf_info():
                raise AbiMismatch(f"{path}: no debug information; wanted a handler, built with -g")
            found = _check_units(path, elf.get_dwarf_info(), wanted)
    except ELFError as error:
        raise AbiMismatch(f"{path}: {error}; wanted an ELF object") from None
    for name in required:
        if name not in found:
            raise AbiMismatch(f"{path}: no struct {name}; wanted it, as the schema has it (is there a DEVICE(...) in "
                              "the handler, and is it this device's?)")
    return len(found)


def _check_units(path: Path, dwarf: Any, wanted: dict[str, BlockLayout]) -> set[str]:
    found: set[str] = set()
    for unit in dwarf.iter_CUs():
        for entry in unit.get_top_DIE().iter_children():
            if entry.tag != "DW_TAG_structure_type" or "DW_AT_declaration" in entry.attributes:
                continue
            name = _name(entry)
            if name in wanted and name not in found:
                _check_struct(path, wanted[name], entry)
                found.add(name)
    return found


def _check_struct(path: Path, block: BlockLayout, entry: Any) -> None:
    members = {_name(child): child.attributes["DW_AT_data_member_location"].value
               for child in entry.iter_children() if child.tag == "DW_TAG_member"}
    for item in sorted(block.fields, key=lambda field: field.reserved):
        if item.name not in members:
            raise AbiMismatch(f"{path}: struct {block.c_name} has no field {item.name}; wanted it "
                              f"at offset {item.offset:#x}")
        if members[item.name] != item.offset:
            raise AbiMismatch(f"{path}: struct {block.c_name}, field {item.name} at offset "
                              f"{members[item.name]:#x}; wanted {item.offset:#x}")
    extra = set(members) - {item.name for item in block.fields}
    if extra:
        raise AbiMismatch(f"{path}: struct {block.c_name} has field {min(extra)}, which the "
                          "schema lacks; wanted only the schema's fields")
    size = entry.attributes["DW_AT_byte_size"].value
    if size != block.size:
        raise AbiMismatch(f"{path}: struct {block.c_name} of {size:#x} bytes; wanted {block.size:#x}")


def _name(entry: Any) -> str:
    attribute = entry.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute else ""
