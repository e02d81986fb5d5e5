"""A device's registers laid out: register files and arrays at their places, each register under a name
of its own, and the pages that they lie in.

`channel[2].start` is how a register is called where one of several is meant; `on_write_channel_start(2,
value)` takes its writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace

from .declaration import Declaration
from .layout import PAGE, BlockLayout, FieldLayout, reserve
from .record import record
from .register_checks import (
    check_bit_names,
    check_clears,
    check_declared,
    check_file,
    check_halves,
    check_latches,
    check_register,
    check_routed,
    whole,
)
from .schema import Access, Device, Memory, Register, RegisterFileAt, SchemaError, Takes, Type

PIXEL_BYTES = 4
MOST_MEMORY = (512 << 20) - (256 << 10)     # bytes; one map element (exit_path.REGION_SHIFT) less the slack (CHUNK)


@record
class PlacedRegister(Register):
    """One register, whose offset is from the device's base.  `declared` is its name without indices
    (`channel_start`), `indices` are those of the files and arrays that it is in, outermost first."""

    declared: str = ""
    indices: tuple[int, ...] = ()

    @property
    def page(self) -> int:
        """Which of the device's pages it lies in."""
        return self.offset // PAGE


# Laying out

def _block(c_name: str, where: str, doc: str, owner: Declaration, size: int | None, prefix: str) -> BlockLayout:
    """The struct that a device's pages, or register files at one place, are; `size` None: whole pages.  Files
    are called after their place, as those of one kind may be further apart elsewhere."""
    declared: dict[str, Register | RegisterFileAt] = {**owner.of_kind(Register), **owner.of_kind(RegisterFileAt)}
    parts = sorted(declared.items(), key=lambda part: part[1].offset)
    found: list[FieldLayout] = []
    cleared = {name if part.access is Access.W1C else part.clears for name, part in parts
               if isinstance(part, Register) and part.takes is Takes.POSTED}
    offset, before = 0, None
    for name, part in parts:
        at = f"{where}.{name}"
        item = _register_field(at, name, part) if isinstance(part, Register) else _file_field(at, name, part, prefix)
        item = replace(item, cleared=name in cleared)
        if part.offset < offset:
            raise SchemaError(at, f"offset {part.offset:#x}, inside {before}", f"{offset:#x} or more")
        reserve(found, offset, part.offset - offset)
        found.append(item)
        offset, before = part.offset + item.size, name
    if size is not None and offset > size:
        raise SchemaError(f"{where}.{before}", f"it ends at {offset:#x}", f"an end at {size:#x}, the stride, or before")
    if not parts:
        raise SchemaError(where, "no registers", "at least one")
    check_bit_names(where, found)
    size = size or -(-offset // PAGE) * PAGE
    reserve(found, offset, size - offset)
    return BlockLayout(c_name, where, doc, size, 8, tuple(found))


def _register_field(where: str, name: str, register: Register) -> FieldLayout:
    check_register(where, register)
    width, count = register.type.size, register.type.count
    size = (register.stride or width) * count if count else width
    return FieldLayout(name, register.offset, size, replace(register.type, bits=register.bits), register.doc,
                       step=(register.stride or width) // width)


def _file_field(where: str, name: str, at: RegisterFileAt, prefix: str) -> FieldLayout:
    check_file(where, at)
    inner = _block(f"{prefix}_{name}", where, at.doc, at.kind, at.stride, f"{prefix}_{name}")
    return FieldLayout(name, at.offset, inner.size * (at.count or 1),
                       Type(f"struct {inner.c_name}", inner.size, inner.align, count=at.count), at.doc, block=inner)


def pages(device: type[Device]) -> BlockLayout | None:
    """All register pages of a device, one after the other.  Raises SchemaError."""
    if not device.of_kind(Register) and not device.of_kind(RegisterFileAt):
        return None
    where = device.__name__
    return _block(f"{device.c_name}_page", where, f"register page of {where}", device, None, device.c_name)


def c_pages(block: BlockLayout) -> list[BlockLayout]:
    """A struct for each page, as a handler reaches no more with one pointer: `x_page`, `x_page1`, ...
    Raises SchemaError for what lies across a border."""
    if block.size == PAGE:
        return [block]
    made = []
    for start in range(0, block.size, PAGE):
        inside: list[FieldLayout] = []
        for item in block.fields:
            if not item.reserved and start < item.offset + item.size and item.offset < start + PAGE:
                _take(block.where, inside, item, start)
        end = inside[-1].offset + inside[-1].size if inside else 0
        reserve(inside, end, PAGE - end)
        made.append(replace(block, c_name=block.c_name + (str(start // PAGE) if start else ""), size=PAGE,
                            doc=f"page {start // PAGE} of the registers of {block.where}", fields=tuple(inside)))
    return made


def _take(where: str, inside: list[FieldLayout], item: FieldLayout, start: int) -> None:
    """The elements of `item` that lie in the page at `start`."""
    one, count = item.type.size * item.step, item.type.count or 1
    first = max(0, (start - item.offset) // one)
    beyond = min(count, -(-(start + PAGE - item.offset) // one))
    at = item.offset + first * one - start
    if at < 0 or at + (beyond - first) * one > PAGE:
        raise SchemaError(f"{where}.{item.name}", f"{one:#x} bytes across the border of two pages",
                          f"each page of {PAGE:#x} bytes to have whole elements")
    end = inside[-1].offset + inside[-1].size if inside else 0
    reserve(inside, end, at - end)
    type_ = replace(item.type, count=beyond - first if item.type.count else None)
    inside.append(replace(item, offset=at, size=one * (beyond - first), type=type_))


def _flat(owner: Declaration, base: int, path: str, declared: str,
          indices: tuple[int, ...]) -> Iterator[tuple[str, PlacedRegister]]:
    for name, register in owner.of_kind(Register).items():
        given = {f.name: getattr(register, f.name) for f in fields(Register)}
        given["type"] = replace(register.type, count=None)
        stride = register.stride or register.type.size
        for i in range(register.type.count or 1):
            several = register.type.count is not None
            given["offset"] = base + register.offset + i * stride
            yield path + (f"{name}[{i}]" if several else name), PlacedRegister(
                **given, declared=declared + name, indices=(*indices, i) if several else indices)
    for name, at in owner.of_kind(RegisterFileAt).items():
        for i in range(at.count or 1):
            several = at.count is not None
            yield from _flat(at.kind, base + at.offset + i * at.stride,
                             path + (f"{name}[{i}]." if several else f"{name}."),
                             f"{declared}{name}_", (*indices, i) if several else indices)


def placed(device: type[Device]) -> dict[str, PlacedRegister]:
    """Every register by its name, in order of declaration.  The declarations have been checked by
    `pages`; raises SchemaError for what one register asks of another."""
    found = dict(_flat(device, 0, "", "", ()))
    check_declared(device.__name__, found)
    for name, register in found.items():
        where = f"{device.__name__}.{name}"
        check_halves(where, name, register)
        check_clears(where, register, found.get(beside(name, register.clears)), found)
        check_latches(where, register, found)
    check_routed(device.__name__, found)
    return found


def several(device: type[Device]) -> list[tuple[str, int, int, int]]:
    """What comes several times, outer ones first: (declared name, where the first starts, bytes from one to
    the next, how many); those inside others are as in the first of them."""
    return list(_several(device, 0, ""))


def _several(owner: Declaration, base: int, declared: str) -> Iterator[tuple[str, int, int, int]]:
    for name, at in owner.of_kind(RegisterFileAt).items():
        if at.count is not None:
            yield declared + name, base + at.offset, at.stride, at.count
        yield from _several(at.kind, base + at.offset, f"{declared}{name}_")
    for name, register in owner.of_kind(Register).items():
        if register.type.count is not None:
            yield declared + name, base + register.offset, register.stride or register.type.size, register.type.count


def all_files(owner: Declaration, declared: str = "") -> set[str]:
    """Declared names of its register files."""
    found: set[str] = set()
    for name, at in owner.of_kind(RegisterFileAt).items():
        found |= {declared + name, *all_files(at.kind, f"{declared}{name}_")}
    return found


def beside(name: str, other: str) -> str:
    """The name of a register that one in a register file calls `other`: of the same file."""
    return re.sub(r"[^.]*$", "", name) + other


def _check_pixels(where: str, item: Memory) -> None:
    if item.pixels is None:
        return
    if not (isinstance(item.pixels, tuple) and len(item.pixels) == 2 and all(
            type(side) is int and side > 0 for side in item.pixels)):
        raise SchemaError(where, f"pixels {item.pixels!r}", "(width, height), whole numbers above 0")
    wanted = math.prod(item.pixels) * PIXEL_BYTES
    if wanted > item.size:
        raise SchemaError(where, f"a picture of {wanted:#x} bytes in {item.size:#x}", "it inside the memory")


def memories(device: type[Device], registers_end: int) -> dict[str, Memory]:
    """Device memory by name, in order of place.  Raises SchemaError."""
    found = dict(sorted(device.of_kind(Memory).items(), key=lambda pair: pair[1].offset))
    end, before = registers_end, "the registers"
    for name, item in found.items():
        where = f"{device.__name__}.{name}"
        if not (isinstance(item.doc, str) and item.doc.strip()):
            raise SchemaError(where, "no meaning", "one line that says what it is")
        whole(where, offset=item.offset, size=item.size)
        if item.size <= 0 or item.size % PAGE or item.offset % PAGE:
            raise SchemaError(where, f"{item.size:#x} bytes at offset {item.offset:#x}",
                              f"whole pages of {PAGE:#x} bytes")
        if item.offset < end:
            raise SchemaError(where, f"offset {item.offset:#x}, inside {before}", f"{end:#x} or more")
        _check_pixels(where, item)
        end, before = item.offset + item.size, name
    if sum(item.size for item in found.values()) > MOST_MEMORY:
        raise SchemaError(f"{device.__name__}.{before}", f"{sum(m.size for m in found.values()):#x} bytes of memory",
                          f"at most {MOST_MEMORY:#x} in all, which a handler can reach")
    return found
