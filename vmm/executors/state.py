"""The declared state of a vCPU, in memory: blank, written, and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..devmodel.layout import BlockLayout, layout_block
from ..devmodel.vcpu import General, Segment, Segments, VcpuState
from ..devmodel.view import View, address_of, ffi, to_dict, view_of


def names(block: BlockLayout) -> list[str]:
    """Of all its fields, but for those that are reserved."""
    return [item.name for item in block.fields if not item.reserved]


_SEGMENTS = layout_block(Segments)
GENERAL = names(layout_block(General))
SEGMENTS = [name for name in names(_SEGMENTS) if _SEGMENTS.field(name).type.block is Segment]     # not tables
ACCESS = {bits.name: (bits.low, (1 << bits.width) - 1) for bits in layout_block(Segment).field("access").type.bits}
"""Of a segment's access: name -> lowest bit, mask."""


def blank() -> View:
    """A state of zeroes, in memory of its own."""
    layout = layout_block(VcpuState)
    raw = ffi.new("uint64_t[]", layout.size // 8)
    return view_of(layout)(int(ffi.cast("uintptr_t", raw)), raw)


def bytes_of(view: View) -> Any:
    """All of a block, to be read and written."""
    return ffi.buffer(ffi.cast("char *", address_of(view)), view._layout.size)


def write_array(view: View, name: str, values: Iterable[int]) -> None:
    """All elements of an array of scalars."""
    item = view._layout.field(name)
    data = b"".join(value.to_bytes(item.type.size, "little") for value in values)
    bytes_of(view)[item.offset:item.offset + item.size] = data


def write_all(view: Any, fields: dict[str, Any]) -> None:
    """Fields as `to_dict` has them."""
    for name, value in fields.items():
        if isinstance(value, dict):
            write_all(getattr(view, name), value)
        elif isinstance(value, list) and isinstance(value[0], dict):
            for one, each in zip(getattr(view, name), value):
                write_all(one, each)
        elif isinstance(value, list):
            write_array(view, name, value)
        else:
            setattr(view, name, value)


def differences(one: View, other: View) -> Iterator[tuple[str, int, int]]:
    """(field, its value in one, in the other)."""
    if bytes_of(one)[:] != bytes_of(other)[:]:
        yield from _differences(to_dict(one), to_dict(other), "")


def _differences(one: Any, other: Any, where: str) -> Iterator[tuple[str, int, int]]:
    if isinstance(one, dict):
        for name, value in one.items():
            yield from _differences(value, other[name], f"{where}.{name}" if where else name)
    elif isinstance(one, list):
        for i, (value, its) in enumerate(zip(one, other)):
            yield from _differences(value, its, f"{where}[{i}]")
    elif one != other:
        yield where, one, other
