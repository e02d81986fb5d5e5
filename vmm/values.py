"""Values that a user writes, checked: numbers, sizes, switches and choices."""

from __future__ import annotations

from .errors import UserError

MOST_DIGITS = 20        # of a size: as many as 64 bits have
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(text: str, what: str) -> int:
    """`256M` in bytes; a bare number is bytes."""
    number, unit = text.rstrip("kKmMgG"), text[len(text.rstrip("kKmMgG")):].lower()
    if not (number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS) or unit not in _UNITS:
        raise UserError(f"{what} {text!r}; wanted a size like 256M or 4G")
    return int(number) * _UNITS[unit]


def whole(text: str, what: str, low: int, high: int) -> int:
    """A whole number, decimal or 0x hexadecimal, from `low` to `high`."""
    try:
        value = int(text, 0)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise UserError(f"{what} {text!r}; wanted a whole number from {low} to {high}")
    return value


def switch(text: str, what: str) -> bool:
    if text not in ("on", "off"):
        raise UserError(f"{what} {text!r}; wanted on or off")
    return text == "on"


def choice(text: str, what: str, of: tuple[str, ...]) -> str:
    if text not in of:
        raise UserError(f"{what} {text!r}; wanted {' or '.join(filter(None, (', '.join(of[:-1]), of[-1])))}")
    return text
