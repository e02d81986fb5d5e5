"""A device's own options: declared where its class is, checked as the command line's are.

    class AdderDevice(RegisterDevice):
        limit = whole(1000, 0, 1 << 32, "the largest sum")
        saturate = switch(False, "whether larger ones are cut off there")

`self.limit` is then what the user gave, `AdderDevice("adder", limit=7)` or `--device ...,limit=7`, or
the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from .. import values
from ..devmodel.record import record
from ..devmodel.schema import SchemaError
from ..errors import UserError


@record
class Option:
    """An option: `parse(text, what)` raises UserError for what it cannot be; `wanted` says what it can."""

    default: Any
    doc: str
    parse: Callable[[str, str], Any]
    wanted: str
    fits: Callable[[Any], bool]


# They read as attributes of the device, so their type is that of what they hold.

PathOrNone = TypeVar("PathOrNone", Path, None)


def _option(default: Any, doc: str, parse: Callable[[str, str], Any], wanted: str, fits: Callable[[Any], bool]) -> Any:
    return Option(default, doc, parse, wanted, fits)


def whole(default: int, low: int, high: int, doc: str) -> int:
    """A whole number from `low` to `high`."""
    return _option(default, doc, lambda text, what: values.whole(text, what, low, high), f"{low} to {high}",
                   lambda value: type(value) is int and low <= value <= high)


def switch(default: bool, doc: str) -> bool:
    """`on` or `off`, which is True or False."""
    return _option(default, doc, values.switch, "on|off", lambda value: isinstance(value, bool))


def choice(default: str, of: tuple[str, ...], doc: str) -> str:
    """One of several words."""
    return _option(default, doc, lambda text, what: values.choice(text, what, of), "|".join(of),
                   lambda value: value in of)


def size(default: int, doc: str) -> int:
    """Bytes, as in `64K`."""
    return _option(default, doc, values.size, "SIZE", lambda value: type(value) is int and value >= 0)


def text(default: str, doc: str) -> str:
    """Any text."""
    return _option(default, doc, lambda text, what: text, "TEXT", lambda value: isinstance(value, str))


def path(default: PathOrNone, doc: str) -> Path | PathOrNone:
    """A file's or folder's name."""
    return _option(default, doc, lambda text, what: Path(text), "FILE",
                   lambda value: value is None or isinstance(value, str | os.PathLike))


TAKEN = ("name", "offload", "base", "bus", "async", "transport", "packed")      # keys that every --device has
OF_VIRTIO = ("offered", "queue_sizes", "accepted", "queues", "assigned", "upcalls", "insists", "log", "config")


def check_declared(kind: type, taken: Collection[str], virtio: bool) -> None:
    """Raises SchemaError for an option that is a key of every device's, or `taken` by the framework, and for a
    default that cannot be given."""
    known = {*TAKEN, *taken, *(OF_VIRTIO if virtio else ())}
    for name, option in vars(kind).items():
        if not isinstance(option, Option):
            continue
        where = f"{kind.__name__}.{name}"
        if name in known:
            raise SchemaError(where, "an option that is called as something that every device has", "another name")
        if not (isinstance(option.doc, str) and option.doc.strip()):
            raise SchemaError(where, "no meaning", "one line that says what it is")
        if not option.fits(option.default):
            raise SchemaError(where, f"default {option.default!r}", option.wanted)


def declared(kind: type) -> dict[str, Option]:
    """Name -> option, base classes' first."""
    return {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()
            if isinstance(value, Option)}


def parse(kind: type, given: dict[str, str], what: str, common: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options as text, checked; `common` are keys that were taken out of `given`.  Raises UserError."""
    known = declared(kind)
    for name in given:
        if name not in known:
            raise UserError(f"{what}: unknown key {name!r}; wanted one of {', '.join([*common, *known])}")
    return {name: known[name].parse(value, f"{what} {name}") for name, value in given.items()}


def take(device: object, given: dict[str, Any]) -> None:
    """Set a device's options, to what is given or their defaults.  Raises UserError."""
    known = declared(type(device))
    for name in given:
        if name not in known:
            raise UserError(f"{type(device).__name__}: no option {name!r}; wanted one of {', '.join(known) or 'none'}")
    for name, option in known.items():
        value = given.get(name, option.default)
        if not option.fits(value):
            raise UserError(f"{type(device).__name__}: {name} {value!r}; wanted {option.wanted}")
        setattr(device, name, value)
