"""Devices as a recording describes them.  All of it is hostile until checked here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_TEXT = 200         # letters of a name
MOST = 1 << 64          # what a number is below


class NotAsWanted(ValueError):
    """Says what was found, and what was wanted."""


def number(value: Any, what: str, end: int = MOST) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise NotAsWanted(f"{what} {value!r:.80}; wanted a whole number below {end:#x}")
    return value


def text(value: Any, what: str) -> str:
    """What may be printed anywhere."""
    if type(value) is not str or not value.isprintable() or not 0 < len(value) <= MOST_TEXT:
        raise NotAsWanted(f"{what} {value!r:.80}; wanted at most {MOST_TEXT} letters that can be printed")
    return value


def items(value: Any, what: str, kind: type) -> Any:
    if type(value) is not kind:
        raise NotAsWanted(f"{what} {value!r:.80}; wanted a {'map' if kind is dict else 'list'}")
    return value


def part(of: dict, key: str, check: Callable, what: str, *more: Any) -> Any:
    """A checked value of a map."""
    if key not in of:
        raise NotAsWanted(f"{what} without {key!r}; wanted it")
    return check(of[key], f"{what}, {key}", *more)


def names(value: Any, what: str) -> dict[int, str]:
    return {number(key, what): text(name, what) for key, name in items(value, what, dict).items()}


@dataclass(frozen=True)
class Bits:
    """Some bits of a register; `values` are the names of what they may say."""

    name: str
    low: int
    width: int
    values: dict[int, str]

    def say(self, value: int) -> str:
        """What they say in a register's value; nothing if they are 0 and have no name for that."""
        found = value >> self.low & (1 << self.width) - 1
        if found in self.values:
            return f"{self.name}={self.values[found]}"
        if not found:
            return ""
        return self.name if self.width == 1 else f"{self.name}={found:#x}"


@dataclass(frozen=True)
class Register:
    name: str
    offset: int
    width: int      # bytes
    doorbell: bool
    values: dict[int, str]
    bits: list[Bits]

    def say(self, value: int) -> str:
        """A value, in the words that the schema has for it."""
        if value in self.values:
            return self.values[value]
        plain = str(value) if value < 10 else f"{value:#x}"
        said = " ".join(filter(None, (bits.say(value) for bits in self.bits)))
        return f"{plain} ({said})" if said else plain


@dataclass(frozen=True)
class Device:
    slot: int
    name: str
    schema: str
    queues: list[str]
    reasons: dict[int, str]
    registers: dict[tuple[int, int], Register]      # by offset and width

    def register(self, offset: int, width: int) -> Register | None:
        return self.registers.get((offset, width))


def device_of(item: dict) -> Device:
    """Raises NotAsWanted."""
    what = "a device"
    registers = [_register(each) for each in part(item, "registers", items, what, list)]
    return Device(
        part(item, "device", number, what, 256), part(item, "name", text, what), part(item, "schema", text, what),
        [text(name, "a queue") for name in part(item, "queues", items, what, list)],
        part(item, "reasons", names, what), {(each.offset, each.width): each for each in registers})


def _register(item: Any) -> Register:
    what = "a register"
    items(item, what, dict)
    return Register(part(item, "name", text, what), part(item, "offset", number, what, 1 << 32),
                    part(item, "width", number, what, 9), item.get("doorbell") is True,
                    part(item, "values", names, what), [_bits(each) for each in part(item, "bits", items, what, list)])


def _bits(item: Any) -> Bits:
    found = items(item, "bits", list)
    if len(found) != 4:
        raise NotAsWanted(f"bits {found!r:.80}; wanted name, lowest bit, width and values")
    name, low, width, values = found
    return Bits(text(name, "bits"), number(low, "bits", 64), number(width, "bits", 65), names(values, "bits"))
