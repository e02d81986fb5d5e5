"""Linear memory, as a CPU reaches it while it delivers an event: supervisor accesses, by the page tables (SDM 3, 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..executors.guest_map import Range
from ..sync._shared import ffi

PAGE = 4096
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE = 1, 2, 4, 0x20, 0x40, 0x80     # of an entry
WRITE_PROTECT, PAGING = 1 << 16, 1 << 31                                        # cr0
LARGE_PAGES, PHYSICAL_EXTENSION, FIVE_LEVELS, NO_USER_ACCESS = 1 << 4, 1 << 5, 1 << 12, 1 << 21     # cr4
LONG_MODE = 1 << 10                                                             # efer
ADDRESS = 0x000ffffffffff000                                                    # of an entry
PAGE_FAULT = 14


@dataclass
class Fault(Exception):
    """An exception of the CPU's: its vector and error code, and where a #PF was."""

    vector: int
    error: int = 0
    address: int | None = None


class Physical:
    """Guest-physical memory, of ranges that do not overlap.  What is not there reads as all ones, as on a PC's bus."""

    def __init__(self, ranges: Iterable[Range] = ()):
        self._ranges: list[tuple[int, int, Any, bool]] = []
        self.map(ranges)

    def map(self, ranges: Iterable[Range]) -> None:
        self._ranges = [(each.gpa, each.gpa + each.bytes,
                         ffi.buffer(ffi.cast("char *", each.address), each.bytes), each.read_only) for each in ranges]

    def read(self, gpa: int, size: int) -> int:
        """Bytes of one page, as a number."""
        for start, end, data, _ in self._ranges:
            if start <= gpa and gpa + size <= end:
                return int.from_bytes(data[gpa - start:gpa - start + size], "little")
        return (1 << 8 * size) - 1

    def write(self, gpa: int, size: int, value: int) -> None:
        for start, end, data, read_only in self._ranges:
            if start <= gpa and gpa + size <= end and not read_only:
                data[gpa - start:gpa - start + size] = value.to_bytes(size, "little")


class Linear:
    """Linear memory of a vCPU that is in `state`."""

    def __init__(self, state: Any, physical: Physical):
        self._control, self._physical = state.control, physical

    def read(self, address: int, size: int) -> int:
        """Raises Fault."""
        value, done = 0, 0
        for at, length in _pages(address, size):
            value |= self._physical.read(self._translated(at, False), length) << 8 * done
            done += length
        return value

    def write(self, address: int, size: int, value: int) -> None:
        """All of it, or nothing.  Raises Fault."""
        for at, length in [(self._translated(at, True), length) for at, length in _pages(address, size)]:
            self._physical.write(at, length, value & (1 << 8 * length) - 1)
            value >>= 8 * length

    def _translated(self, address: int, write: bool) -> int:
        control = self._control
        cr0, cr4 = control.cr0, control.cr4
        if not cr0 & PAGING:
            return address & 0xffffffff
        if not control.efer & LONG_MODE:
            address &= 0xffffffff
        table, rights = control.cr3, WRITABLE | USER
        for shift, bits, size in self._levels():
            at = (table & (0xffffffe0 if bits == 2 else ADDRESS)) + (address >> shift & (1 << bits) - 1) * size
            entry = self._physical.read(at, size)
            if not entry & PRESENT:
                raise Fault(PAGE_FAULT, WRITABLE if write else 0, address)
            if bits != 2:           # a PAE directory pointer has no rights
                rights &= entry
            last = shift == 12 or (entry & LARGE and bits != 2 and (size == 8 or cr4 & LARGE_PAGES))
            if last:
                self._check(rights, write, address)
            if bits != 2 and (wanted := entry | ACCESSED | (DIRTY if last and write else 0)) != entry:
                self._physical.write(at, size, wanted)
            if last:
                return _frame(entry, shift, size) | address & (1 << shift) - 1
            table = entry
        raise AssertionError("the last level has pages")

    def _levels(self) -> list[tuple[int, int, int]]:
        """(shift, bits of an index, bytes of an entry) from the top."""
        cr4 = self._control.cr4
        if self._control.efer & LONG_MODE:
            return [(shift, 9, 8) for shift in (48, 39, 30, 21, 12)[0 if cr4 & FIVE_LEVELS else 1:]]
        if cr4 & PHYSICAL_EXTENSION:
            return [(30, 2, 8), (21, 9, 8), (12, 9, 8)]
        return [(22, 10, 4), (12, 10, 4)]

    def _check(self, rights: int, write: bool, address: int) -> None:
        """Of a supervisor's access, which is implicit (SDM 3, 4.6.1)."""
        control = self._control
        if (write and not rights & WRITABLE and control.cr0 & WRITE_PROTECT) or \
                (rights & USER and control.cr4 & NO_USER_ACCESS):
            raise Fault(PAGE_FAULT, PRESENT | (WRITABLE if write else 0), address)


def _frame(entry: int, shift: int, size: int) -> int:
    if size == 4 and shift == 22:       # a page of 4 MiB has more bits of its address lower (PSE-36)
        return entry & 0xffc00000 | (entry >> 13 & 0xff) << 32
    return entry & ADDRESS & ~((1 << shift) - 1)


def _pages(address: int, size: int) -> list[tuple[int, int]]:
    """(address, bytes) of what lies in one page each."""
    first = min(size, PAGE - address % PAGE)
    return [(address, first)] if first == size else [(address, first), (address + first, size - first)]
