"""The clock and the CMOS memory of a PC (Motorola MC146818A data sheet), with what a BIOS of the AT's line and
SeaBIOS look for there.  The clock is the host's in UTC; it cannot be set and interrupts nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import gmtime, struct_time, time

from ..kvm.addresses import KIB, MIB

BYTES = 128
STATUS_A, STATUS_B, STATUS_C, STATUS_D, CENTURY = 0x0a, 0x0b, 0x0c, 0x0d, 0x32
DIVIDER = 0x26              # of STATUS_A: a 32.768 kHz crystal, 1024 Hz
HOURS_24, POWER_GOOD = 1 << 1, 1 << 7       # of STATUS_B (without bit 2, in BCD), and STATUS_D
BASE_MEMORY, EXTENDED_MEMORY, EXTENDED_MEMORY_2, MEMORY_16M = 0x15, 0x17, 0x30, 0x34    # two bytes each
BOOT_ORDER, DISK_FIRST = 0x3d, 0x02         # SeaBIOS: four bits a kind of device
OTHER_CPUS = 0x5f
READ_ONLY = range(STATUS_A, STATUS_D + 1)
NMI_MASK = 0x80             # in the index; no part of it


def _bcd(number: int) -> int:
    return number // 10 % 10 << 4 | number % 10


def _clock(now: struct_time) -> dict[int, int]:
    """The registers that are the time; Sunday is 1."""
    return {0: _bcd(now.tm_sec), 2: _bcd(now.tm_min), 4: _bcd(now.tm_hour), 6: (now.tm_wday + 1) % 7 + 1,
            7: _bcd(now.tm_mday), 8: _bcd(now.tm_mon), 9: _bcd(now.tm_year), CENTURY: _bcd(now.tm_year // 100)}


class Cmos:
    """Two ports: an index, and the byte there."""

    def __init__(self, low_bytes: int, cpus: int, seconds: Callable[[], float] = time):
        """`low_bytes` of RAM below 4 GiB; `seconds` since 1970."""
        self._bytes, self._seconds = bytearray(BYTES), seconds
        self._index, self._lock = 0, threading.Lock()
        self._bytes[STATUS_A], self._bytes[STATUS_B], self._bytes[STATUS_D] = DIVIDER, HOURS_24, POWER_GOOD
        self._bytes[BOOT_ORDER], self._bytes[OTHER_CPUS] = DISK_FIRST, cpus - 1
        extended = min((low_bytes - MIB) // KIB, 0xffff)
        for at, amount in ((BASE_MEMORY, 640), (EXTENDED_MEMORY, extended), (EXTENDED_MEMORY_2, extended),
                           (MEMORY_16M, max(0, low_bytes - 16 * MIB) // (64 * KIB))):
            self._bytes[at:at + 2] = amount.to_bytes(2, "little")

    def read(self, offset: int, width: int) -> int:
        if offset == 0 or width != 1:
            return (1 << 8 * width) - 1
        with self._lock:
            clock = _clock(gmtime(self._seconds()))
            return clock.get(self._index, self._bytes[self._index])

    def write(self, offset: int, width: int, value: int) -> None:
        if width != 1:
            return
        with self._lock:
            if offset == 0:
                self._index = value & ~NMI_MASK
            elif self._index not in READ_ONLY:
                self._bytes[self._index] = value
