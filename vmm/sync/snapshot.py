"""A device's shadow as bytes, and back.

The bytes describe the device, not our code: schema name, version and layout hash, then
every field of what userspace or the holder wrote, by name.  All of it is hostile until
checked; nothing is written before everything has been.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..devmodel.layout import BlockLayout, FieldLayout
from ..devmodel.schema import Writer
from ..devmodel.view import View, to_dict

FORMAT = 1
MOST_TEXT = 80          # letters of what was found, in an error


class SnapshotError(ValueError):
    """A snapshot that does not fit: says where, what was found and what was wanted."""


class Layout(Protocol):
    """What a snapshot is of: a device, or anything else with a state that was declared."""

    @property
    def c_name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def hash(self) -> int: ...
    @property
    def state(self) -> BlockLayout: ...


def pack(layout: Layout, state: View) -> bytes:
    """The device's state, msgpack.  The caller holds the device, so that it stands still."""
    import msgpack
    return msgpack.packb({"splitvmm": FORMAT, "schema": layout.c_name, "version": layout.version,
                          "layout": layout.hash, "state": to_dict(state)})


def unpack(layout: Layout, data: bytes) -> dict:
    """Check a snapshot against the schema and return its fields.  Raises SnapshotError."""
    import msgpack
    try:
        saved = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise SnapshotError(f"snapshot: {str(error) or type(error).__name__}; wanted msgpack") from None
    if not isinstance(saved, dict):
        raise SnapshotError(f"snapshot: a {type(saved).__name__}; wanted a map")
    for key, wanted in (("splitvmm", FORMAT), ("schema", layout.c_name),
                        ("version", layout.version), ("layout", layout.hash)):
        if saved.get(key) != wanted:
            raise SnapshotError(f"snapshot: {key} {saved.get(key)!r:.{MOST_TEXT}}; wanted {wanted!r}")
    _check(layout.state, saved.get("state"), "state")
    return saved["state"]


def restore(layout: Layout, state: View, data: bytes,
            check: Callable[[dict], None] = lambda fields: None) -> None:
    """Write a snapshot's user and holder fields into `state`.  Counters of the kernel half
    start anew.  `check(fields)` may refuse what the schema alone cannot judge."""
    fields = unpack(layout, data)
    check(fields)
    _write(layout.state, state, fields, None)


def _check(block: BlockLayout, values: object, where: str) -> None:
    if not isinstance(values, dict):
        raise SnapshotError(f"{where}: {values!r:.{MOST_TEXT}}; wanted a map of {block.c_name}")
    wanted = {f.name for f in block.fields if not f.reserved}
    if set(values) != wanted:
        odd = min(set(values) ^ wanted, key=str)
        raise SnapshotError(f"{where}: {'missing' if odd in wanted else 'unknown'} field {odd!r:.{MOST_TEXT}}; "
                            f"wanted exactly those of {block.c_name}")
    for item in block.fields:
        if item.reserved:
            continue
        value, at = values[item.name], f"{where}.{item.name}"
        if item.type.count is None:
            _check_one(item, value, at)
            continue
        if not isinstance(value, list) or len(value) != item.type.count:
            raise SnapshotError(f"{at}: wanted a list of {item.type.count}")
        for i, element in enumerate(value):
            _check_one(item, element, f"{at}[{i}]")


def _check_one(item: FieldLayout, value: object, where: str) -> None:
    if item.block:
        _check(item.block, value, where)
        return
    bits = 8 * item.type.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if item.type.signed else (0, (1 << bits) - 1)
    if type(value) is not int or not low <= value <= high:
        raise SnapshotError(f"{where}: {value!r:.{MOST_TEXT}}; wanted a whole number from {low} to {high}")
    if item.name == "sequence" and value & 1:
        raise SnapshotError(f"{where}: {value}; wanted it even, as nobody counts in a snapshot")
    if item.type.enum is not None and value not in list(item.type.enum):
        raise SnapshotError(f"{where}: {value}; wanted one of {[int(v) for v in item.type.enum]}")


def _write(block: BlockLayout, view: View, values: dict, writer: Writer | None) -> None:
    writer = block.writer or writer
    for item in block.fields:
        if item.reserved or (item.writer or writer) is Writer.KERNEL:
            continue
        value, part = values[item.name], getattr(view, item.name)
        if item.block and item.type.count is None:
            _write(item.block, part, value, item.writer or writer)
        elif item.block:
            for one, saved in zip(part, value):
                _write(item.block, one, saved, item.writer or writer)
        elif item.type.count is not None:
            for i, element in enumerate(value):
                part[i] = element
        else:
            setattr(view, item.name, value)
