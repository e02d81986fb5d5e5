"""A device's own options: declared where its class is, checked as the command line's are.

    class AdderDevice(RegisterDevice):
        limit = whole(1000, 0, 1 << 32, "the largest sum")
        saturate = switch(False, "whether larger ones are cut off there")

`self.limit` is then what the user gave, `AdderDevice("adder", limit=7)` or `--device ...,limit=7`, or
the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import values
from ..errors import UserError


@dataclass(frozen=True)
class Option:
    """An option: `parse(text, what)` raises UserError for what it cannot be; `wanted` says what it can."""

    default: Any
    doc: str
    parse: Callable[[str, str], Any]
    wanted: str


# They read as attributes of the device, so their type is that of what they hold.

PathOrNone = TypeVar("PathOrNone", Path, None)


def _option(default: Any, doc: str, parse: Callable[[str, str], Any], wanted: str) -> Any:
    return Option(default, doc, parse, wanted)


def whole(default: int, low: int, high: int, doc: str) -> int:
    """A whole number from `low` to `high`."""
    return _option(default, doc, lambda text, what: values.whole(text, what, low, high), f"{low} to {high}")


def switch(default: bool, doc: str) -> bool:
    """`on` or `off`, which is True or False."""
    return _option(default, doc, values.switch, "on|off")


def choice(default: str, of: tuple[str, ...], doc: str) -> str:
    """One of several words."""
    return _option(default, doc, lambda text, what: values.choice(text, what, of), "|".join(of))


def size(default: int, doc: str) -> int:
    """Bytes, as in `64K`."""
    return _option(default, doc, values.size, "SIZE")


def text(default: str, doc: str) -> str:
    """Any text."""
    return _option(default, doc, lambda text, what: text, "TEXT")


def path(default: PathOrNone, doc: str) -> Path | PathOrNone:
    """A file's or folder's name."""
    return _option(default, doc, lambda text, what: Path(text), "FILE")


def declared(kind: type) -> dict[str, Option]:
    """Name -> option, base classes' first."""
    return {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()
            if isinstance(value, Option)}


def parse(kind: type, given: dict[str, str], what: str) -> dict[str, Any]:
    """Options as text, checked.  Raises UserError."""
    known = declared(kind)
    for name in given:
        if name not in known:
            raise UserError(f"{what}: unknown key {name!r}; wanted one of {', '.join(known)}" if known else
                            f"{what}: unknown key {name!r}; {kind.__name__} has no options of its own")
    return {name: known[name].parse(value, f"{what} {name}") for name, value in given.items()}


def take(device: object, given: dict[str, Any]) -> None:
    """Set a device's options, to what is given or their defaults.  Raises UserError."""
    known = declared(type(device))
    for name in given:
        if name not in known:
            raise UserError(f"{type(device).__name__}: no option {name!r}; wanted one of {', '.join(known) or 'none'}")
    for name, option in known.items():
        setattr(device, name, given.get(name, option.default))
