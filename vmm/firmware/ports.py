"""Two ports of a BIOS: where it writes its log, and a PS/2's system control port A."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("splitvmm.firmware")

CONSOLE_THERE = 0xe9        # what SeaBIOS reads where it may write (its src/fw/paravirt.h)
LINE_BYTES = 400            # more without an end are lines of their own
FAST_RESET, A20 = 1 << 0, 1 << 1


class DebugConsole:
    """Logs the lines that are written to it."""

    def __init__(self):
        self._line = bytearray()

    def read(self, _offset: int, _width: int) -> int:
        return CONSOLE_THERE

    def write(self, _offset: int, _width: int, value: int) -> None:
        byte = value & 0xff
        if byte != ord("\n"):
            self._line.append(byte)
        if byte == ord("\n") or len(self._line) == LINE_BYTES:
            line, self._line = self._line, bytearray()
            log.debug("%s", line.decode("ascii", "backslashreplace"))


class SystemControl:
    """Address line 20 is always on: KVM masks no addresses."""

    def __init__(self, reset: Callable[[], None]):
        self._reset = reset

    def read(self, _offset: int, _width: int) -> int:
        return A20

    def write(self, _offset: int, _width: int, value: int) -> None:
        if value & FAST_RESET:
            self._reset()
