"""Schema -> offsets and sizes.  Every check of a block that needs a number is here;
those of a whole device are in device_layout.py.

There is no padding that nobody declared: a field that does not fall on its own
alignment is an error that says how many reserved bytes to add.  Only between the
blocks of a device's state does the layout itself move on, to the next cache line,
and it emits those bytes by name.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import cache

from . import schema
from .declaration import check_name
from .record import record
from .schema import Block, Field, SchemaError, Type, Writer

CACHE_LINE = 64         # bytes; writers never share one
PAGE = 4096             # bytes; a register page, as a KVM memory slot needs it
MAX_REASONS = 24        # length of virtqueue.Kernel.declined, reason 0 included
SCALARS = {Type(t.c_name, t.size, t.align, t.signed): t for t in (
    schema.u8, schema.u16, schema.u32, schema.u64, schema.i8, schema.i16, schema.i32,
    schema.i64, schema.le16, schema.le32, schema.le64)}


@record
class FieldLayout:
    """A field at its place; `offset` and `size` in bytes, `size` of all elements."""

    name: str
    offset: int
    size: int
    type: Type
    doc: str
    unit: str = ""
    writer: Writer | None = None
    block: BlockLayout | None = None    # of the nested block
    reserved: bool = False
    step: int = 1                       # of an array of scalars: every how many of them is an element
    cleared: bool = False               # of a register: the guest clears bits of it, at any time, by a posted write


@record
class BlockLayout:
    """A struct: `size` and `align` in bytes."""

    c_name: str
    where: str
    doc: str
    size: int
    align: int
    fields: tuple[FieldLayout, ...]
    writer: Writer | None = None

    def field(self, name: str) -> FieldLayout:
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(f"{self.where} has no field {name!r}")


def in_order(roots: Iterable[BlockLayout]) -> list[BlockLayout]:
    """The roots and all that they contain, inner ones first, none twice."""
    found: dict[str, BlockLayout] = {}

    def visit(block: BlockLayout) -> None:
        for item in block.fields:
            if item.block:
                visit(item.block)
        found.setdefault(block.c_name, block)

    for root in roots:
        visit(root)
    return list(found.values())


# Fields and blocks

def _check_enum(where: str, values: object, low: int, high: int) -> None:
    if not (isinstance(values, type) and issubclass(values, enum.IntEnum) and len(values)):
        raise SchemaError(where, f"enum {values!r}", "an IntEnum with at least one value")
    for value in values:
        if not low <= value <= high:
            raise SchemaError(where, f"{values.__name__}.{value.name} = {int(value)}",
                              f"a value that fits ({low} to {high})")


def check_bits(where: str, bits: tuple, size: int) -> None:
    """Named bits of a field or register of `size` bytes.  Raises SchemaError."""
    taken: dict[int, str] = {}
    for name, low, width, values in bits:
        check_name(f"{where}.{name}", name)
        if width < 1 or low < 0 or low + width > 8 * size:
            raise SchemaError(f"{where}.{name}", f"bits {low} to {low + width - 1}",
                              f"bits inside 0 to {8 * size - 1}")
        for bit in range(low, low + width):
            if bit in taken:
                raise SchemaError(f"{where}.{name}", f"bit {bit}, which {taken[bit]} has",
                                  "bits of its own")
            taken[bit] = name
        if values is not None:
            _check_enum(f"{where}.{name}", values, 0, (1 << width) - 1)


def check_type_enum(where: str, type_: Type) -> None:
    """The values of a type's enum, if it has one.  Raises SchemaError."""
    if type_.enum is not None:
        low = -(1 << (8 * type_.size - 1)) if type_.signed else 0
        _check_enum(where, type_.enum, low, (1 << (8 * type_.size - type_.signed)) - 1)


def _check_type(where: str, type_: object) -> None:
    if not isinstance(type_, Type):
        raise SchemaError(where, f"type {type_!r}", "u8 to u64, i8 to i64, le16 to le64 or a block")
    if type_.count is not None and not (isinstance(type_.count, int) and type_.count > 0):
        raise SchemaError(where, f"an array of {type_.count!r}", "a count of 1 or more")
    check_type_enum(where, type_)
    check_bits(where, type_.bits, type_.size)


def _field(where: str, name: str, item: Field, offset: int) -> FieldLayout:
    type_, inner = item.type, None
    _check_type(where, type_)
    if not (isinstance(item.doc, str) and item.doc.strip()):
        raise SchemaError(where, "no meaning", "one line that says what it is")
    if type_.block is not None:
        if not (isinstance(type_.block, type) and issubclass(type_.block, Block)):
            raise SchemaError(where, f"nested({type_.block!r})", "a Block")
        inner = layout_block(type_.block)
        if inner.writer is not None:
            raise SchemaError(where, f"{inner.where}, which has a writer of its own",
                              "a block without writer=, as the outer one's writer counts")
        type_ = Type(f"struct {inner.c_name}", inner.size, inner.align, count=type_.count,
                     block=type_.block)
    if offset % type_.align:
        short = type_.align - offset % type_.align
        raise SchemaError(where, f"{type_.c_name} at offset {offset:#x}",
                          f"a multiple of {type_.align}; add {short} bytes of reserved field before it")
    return FieldLayout(name, offset, type_.size * (type_.count or 1), type_, item.doc, item.unit,
                       block=inner, reserved=name.startswith("reserved"))


@cache
def layout_block(block: type[Block], prefix: str = "") -> BlockLayout:
    """Lay a Block out.  Raises SchemaError."""
    where = block.__qualname__.split("<locals>.")[-1]
    writer = block.options.get("writer")
    unknown = set(block.options) - {"writer"}
    if unknown:
        raise SchemaError(where, f"option {min(unknown)!r}", "writer=")
    if writer is not None and not isinstance(writer, Writer):
        raise SchemaError(where, f"writer {writer!r}", "USER, KERNEL or HOLDER")
    fields, offset, align = [], 0, 1
    for name, item in block.of_kind(Field).items():
        placed = _field(f"{where}.{name}", name, item, offset)
        fields.append(placed)
        offset, align = offset + placed.size, max(align, placed.type.align)
    if not fields:
        raise SchemaError(where, "no fields", "at least one")
    if offset % align:
        raise SchemaError(f"{where}.{fields[-1].name}", f"a block that ends at {offset:#x}",
                          f"a multiple of {align}; add {align - offset % align} bytes of reserved "
                          "field after it")
    return BlockLayout(prefix + block.c_name, where, (block.__doc__ or "").strip(), offset, align,
                       tuple(fields), writer)


def compose(c_name: str, where: str, doc: str,
            parts: Iterable[tuple[str, BlockLayout, int | None, str]]) -> BlockLayout:
    """One struct of `parts` (name, layout, count, doc), each on cache lines of its own."""
    fields: list[FieldLayout] = []
    offset = 0
    for name, block, count, part_doc in parts:
        offset = reserve(fields, offset, -offset % CACHE_LINE)
        type_ = Type(f"struct {block.c_name}", block.size, block.align, count=count)
        size = block.size * (count or 1)
        fields.append(FieldLayout(name, offset, size, type_, part_doc, writer=block.writer,
                                  block=block))
        offset += size
    offset = reserve(fields, offset, -offset % CACHE_LINE)
    return BlockLayout(c_name, where, doc, offset, 8, tuple(fields))


def reserve(fields: list[FieldLayout], offset: int, count: int) -> int:
    """Append `count` bytes of nothing at `offset`; returns where they end."""
    if count:
        fields.append(FieldLayout(f"reserved_{offset:x}", offset, count, schema.u8[count],
                                  "to the next field's place", reserved=True))
    return offset + count
