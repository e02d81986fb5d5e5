"""Layout -> Python views over shared memory.

A view is an object at an address.  It knows every field by name and nothing else: a
misspelt name is an AttributeError both ways, and writing what the other side owns is an
OwnershipError.  Each field is read or written with one access of its own width.

All attributes of a view without a leading underscore are the schema's; what can be done with
a view as a whole are functions here: `read_together`, `to_dict`, `address_of`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .arrays import Array, OwnershipError, ffi
from .layout import BlockLayout, FieldLayout
from .schema import Bits, Writer

_TYPES = {(size, signed): f"{'' if signed else 'u'}int{8 * size}_t"
          for size in (1, 2, 4, 8) for signed in (False, True)}
_POINTERS = {size: ffi.typeof(f"uint{8 * size}_t *") for size in (1, 2, 4, 8)}
_BY_SIZE = {1: "_u8", 2: "_u16", 4: "_u32", 8: "_u64"}      # slots: the block as an array of each


class TornRead(RuntimeError):
    """Several fields could not be read as one: their writer never paused."""


class View:
    """Base of every generated view: a block at an address of this process."""

    __slots__ = ("_address", "_keep", "_held", "_parts", *_BY_SIZE.values())
    _layout: BlockLayout
    _writer: Writer | None

    if TYPE_CHECKING:       # the schema's fields, which a checker of types cannot know
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, address: int, keep: object = None, held: Callable[[], bool] | None = None):
        """`keep` is whatever must outlive the view; `held` tells whether userspace holds the
        HOLDER blocks inside."""
        if address % self._layout.align:
            raise ValueError(f"{self._layout.where} at {address:#x}; wanted a multiple of "
                             f"{self._layout.align}")
        self._address, self._keep, self._held = address, keep, held
        for size, slot in _BY_SIZE.items():
            setattr(self, slot, ffi.cast(_POINTERS[size], address))
        self._parts = {f.name: _part(f, address, keep, held, self._writer)
                       for f in self._layout.fields if f.block or f.type.count}

    def __repr__(self) -> str:
        return f"<{self._layout.where} at {self._address:#x}>"


def address_of(view: View) -> int:
    """Where it lies in this process."""
    return view._address


def pointer_to(view: View, name: str) -> Any:
    """A scalar field as a cffi pointer, for paths where even a property is too slow; it knows no
    owner, so it is for code that is itself the owner."""
    item = view._layout.field(name)
    return ffi.cast(_POINTERS[item.type.size], view._address + item.offset)


def words_of(view: View) -> tuple[Any, Any]:
    """The block as an array of u32 and as one of u64, likewise."""
    return view._u32, view._u64


def read_together(view: View, *names: str, tries: int = 10_000) -> tuple:
    """Values of several fields as they were at one moment, by the block's `sequence`.

    Raises TornRead if the writer gave no gap in `tries` looks, and KeyError if the block has
    no `sequence` to go by.
    """
    view._layout.field("sequence")
    for _ in range(tries):
        before = view.sequence
        if before & 1:
            continue
        values = tuple(tuple(v) if isinstance(v := getattr(view, n), Array) else v for n in names)
        if view.sequence == before:
            return values
    raise TornRead(f"{view._layout.where}: no quiet moment in {tries} reads")


def to_dict(view: View) -> dict:
    """Every field but the reserved ones, nested blocks as dicts."""
    return {f.name: _plain(getattr(view, f.name)) for f in view._layout.fields if not f.reserved}


class Views(Sequence):
    """A fixed array of blocks in shared memory; each view is made when it is first asked for, as
    there may be thousands."""

    __slots__ = ("_make", "_made")

    def __init__(self, make: Callable[[int], View], count: int):
        self._make = make
        self._made: list[View | None] = [None] * count

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self._made)))]
        found = self._made[index]
        if found is None:
            found = self._made[index] = self._make(index % len(self._made))
        return found


def _plain(value):
    if isinstance(value, View):
        return to_dict(value)
    if isinstance(value, Views):
        return [_plain(item) for item in value]
    return list(value) if isinstance(value, Array) else int(value)


def _check_owner(where: str, writer: Writer | None, held: Callable[[], bool] | None) -> None:
    """Raise OwnershipError unless userspace may write this now."""
    if writer is Writer.KERNEL:
        raise OwnershipError(f"{where} is written by the kernel half; userspace may only read it")
    if writer is Writer.HOLDER and held is not None and not held():
        raise OwnershipError(f"{where} belongs to the holder, which is the kernel half now; wanted it held, by "
                             "`with device.alone():`")


def _part(item: FieldLayout, address: int, keep: object, held: Callable[[], bool] | None,
          writer: Writer | None) -> View | Views | Array:
    """What a compound field reads as: a view, Views, or an Array."""
    at, writer = address + item.offset, item.writer or writer
    if item.block is None:
        assert item.type.count is not None      # a scalar is no part
        c_type = _TYPES[item.type.size, item.type.signed]
        return Array(ffi.cast(f"{c_type} *", at), item.type.count,
                     lambda: _check_owner(item.name, writer, held), item.step)
    kind = view_of(item.block, writer)
    if item.type.count is None:
        return kind(at, keep, held)
    return Views(lambda i: kind(at + i * item.type.size, keep, held), item.type.count)


def _part_of(item: FieldLayout) -> property:
    name = item.name
    return property(lambda self: self._parts[name], doc=item.doc)


def _scalar(item: FieldLayout, where: str, writer: Writer | None) -> property:
    """A field's property: the hot path of every Python half, so it does no more than it must."""
    slot, index = attrgetter(_BY_SIZE[item.type.size]), item.offset // item.type.size
    sign = 1 << (8 * item.type.size - 1) if item.type.signed else 0

    def get(self):
        return slot(self)[index]

    def get_signed(self):
        value = slot(self)[index]
        return value - 2 * sign if value & sign else value

    def put(self, value):
        slot(self)[index] = value + 2 * sign if value < 0 and sign else value

    def put_owned(self, value):
        _check_owner(f"{where}.{item.name}", writer, self._held)
        put(self, value)

    def put_held(self, value):
        if self._held is not None and not self._held():
            _check_owner(f"{where}.{item.name}", writer, self._held)
        slot(self)[index] = value

    def put_cleared(self, value):
        raise OwnershipError(f"{where}.{item.name}: a posted write of the guest's clears bits of it at any time; "
                             "wanted set_bits() or clear_bits() of the device")

    reader = get_signed if sign else get
    if item.type.enum is not None:
        reader = _enum_reader(reader, item.type.enum)
    held = writer is Writer.HOLDER and not sign
    writer_ = put_held if held else put_owned if writer in (Writer.KERNEL, Writer.HOLDER) else put
    return property(reader, put_cleared if item.cleared else writer_, doc=item.doc)


def _enum_reader(read, values):
    """Reads the enum's member, or the bare number where nobody declared one."""
    members = {int(value): value for value in values}

    def get(self):
        value = read(self)
        return members.get(value, value)
    return get


def _bit(item: FieldLayout, bits: Bits) -> property:
    low, width, mask = bits.low, bits.width, (1 << bits.width) - 1

    def get(self):
        return getattr(self, item.name) >> low & mask

    def put(self, value):
        if not 0 <= value <= mask:
            raise ValueError(f"{item.name}: {value} in {width} bits")
        setattr(self, item.name, getattr(self, item.name) & ~(mask << low) | value << low)

    return property(_enum_reader(get, bits.enum) if bits.enum else get, put)


@cache
def struct_of(layout: BlockLayout) -> struct.Struct:
    """A struct.Struct of all scalars of a block in order, nested ones included; for code that
    reads a whole block in one go."""
    return struct.Struct("<" + _format(layout))


def _format(layout: BlockLayout) -> str:
    letters = {1: "b", 2: "h", 4: "i", 8: "q"}
    return "".join((_format(f.block) if f.block else letters[f.type.size] if f.type.signed else
                    letters[f.type.size].upper()) * (f.type.count or 1) for f in layout.fields)


@cache
def view_of(layout: BlockLayout, writer: Writer | None = None) -> type[View]:
    """The view class of a block; `writer` counts where the block has none of its own."""
    writer = layout.writer or writer
    members: dict = {"__slots__": (), "_layout": layout, "_writer": writer,
                     "__doc__": layout.doc}
    for item in layout.fields:
        if item.block or item.type.count:
            members[item.name] = _part_of(item)
            continue
        members[item.name] = _scalar(item, layout.where, writer)
        for bits in item.type.bits:
            members[f"{item.name}_{bits.name}"] = _bit(item, bits)
    made: type[View] = type(f"{layout.c_name}_view", (View,), members)
    return made
