"""ACPI's fixed hardware, as far as it has to be there (ACPI 6.4, 4.8.3): no event ever happens, power can be switched
off."""

from __future__ import annotations

from collections.abc import Callable

ENABLE_AT, ENABLE_BYTES = 2, 2          # behind the status, which is 0
SCI_ENABLED, SLEEP_ENABLE = 1 << 0, 1 << 13
SLEEP_TYPE_OFF = 5                      # as _S5 has it


class Pm1Event:
    """Status, then what of it may interrupt."""

    def __init__(self):
        self._bytes = bytearray(ENABLE_AT + ENABLE_BYTES)

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self._bytes[offset:offset + width], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        if offset >= ENABLE_AT:
            self._bytes[offset:offset + width] = value.to_bytes(width, "little")


class Pm1Control:
    """ACPI is in charge from the start: there is no SMI command that would put it there."""

    def __init__(self, stop: Callable[[int], None]):
        self._stop = stop

    def read(self, offset: int, _width: int) -> int:
        return SCI_ENABLED if offset == 0 else 0

    def write(self, offset: int, width: int, value: int) -> None:
        value <<= 8 * offset
        if value & SLEEP_ENABLE and value >> 10 & 7 == SLEEP_TYPE_OFF:
            self._stop(0)
