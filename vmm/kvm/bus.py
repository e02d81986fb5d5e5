"""Address -> (device, offset), for ports and for memory.  A device is told an offset, never
an address.  What nobody claims reads as all ones and ignores writes (as on a PC's bus)."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable

from ..devmodel.exit_path import Bus
from ..errors import UserError

MOST_STRANGERS = 1000       # addresses without a device that are remembered; a guest chooses them

log = logging.getLogger("splitvmm.bus")


def _ignore(value: int) -> None:
    """A write where nobody is."""


class BusOverlap(UserError):
    """Two devices at one address."""


class AddressSpace:
    """One of the two buses."""

    def __init__(self, bus: Bus):
        self.bus = bus
        # both change by being replaced together, as other threads look things up meanwhile
        self._map: tuple[list[int], list[tuple[int, object, str]]] = [], []     # starts; (end, device, name)
        # what reads and writes registers, and where nobody is, by address and width, once that was found
        self._reads: dict[tuple[int, int], Callable[[], int]] = {}
        self._writes: dict[tuple[int, int], Callable[[int], None]] = {}
        self._strangers: set[int] = set()

    def add(self, base: int, size: int, device, name: str) -> None:
        """`device` answers `read(offset, width)` and `write(offset, width, value)`.  If it has them, it is asked for
        `register_reader(offset, width)` and `register_writer(offset, width)` once: what these return, if that is not
        None, is called for each access there."""
        starts, ranges = self._map
        at = bisect_right(starts, base)
        for i in (at - 1, at):
            if 0 <= i < len(starts) and starts[i] < base + size and base < ranges[i][0]:
                raise BusOverlap(f"{self.bus.name.lower()} {base:#x} to {base + size - 1:#x} of {name}; "
                                 f"{ranges[i][2]} has {starts[i]:#x} to {ranges[i][0] - 1:#x} already")
        self._change([*starts[:at], base, *starts[at:]], [*ranges[:at], (base + size, device, name), *ranges[at:]])

    def remove(self, base: int) -> None:
        """Take away what was added there."""
        starts, ranges = self._map
        at = starts.index(base)
        self._change(starts[:at] + starts[at + 1:], ranges[:at] + ranges[at + 1:])

    def _change(self, starts: list[int], ranges: list[tuple[int, object, str]]) -> None:
        self._map = starts, ranges
        self._reads, self._writes = {}, {}      # after that: who looks things up has taken these before it

    def find(self, address: int, width: int):
        """(device, offset) of an access that lies wholly inside one device, else (None, 0)."""
        starts, ranges = self._map
        at = bisect_right(starts, address) - 1
        if at >= 0 and address + width <= ranges[at][0]:
            return ranges[at][1], address - starts[at]
        return None, 0

    def write(self, address: int, width: int, value: int) -> None:
        if known := self._writes.get((address, width)):
            known(value)
        else:
            self._find_and_write(address, width, value)

    def _find_and_write(self, address: int, width: int, value: int) -> None:
        writes = self._writes
        device, offset = self.find(address, width)
        if device is None:
            if self._log_stranger(address, width, "write"):
                writes[address, width] = _ignore
        elif hasattr(device, "register_writer") and (found := device.register_writer(offset, width)):
            writes[address, width] = found
            found(value)
        else:
            device.write(offset, width, value)

    def read(self, address: int, width: int) -> int:
        known = self._reads.get((address, width))
        return known() if known else self._find_and_read(address, width)

    def _find_and_read(self, address: int, width: int) -> int:
        reads = self._reads
        device, offset = self.find(address, width)
        if device is None:
            ones = (1 << 8 * width) - 1
            if self._log_stranger(address, width, "read"):
                reads[address, width] = lambda: ones
            return ones
        if hasattr(device, "register_reader") and (found := device.register_reader(offset, width)):
            reads[address, width] = found
            return found()
        return device.read(offset, width)

    def _log_stranger(self, address: int, width: int, what: str) -> bool:
        """Once for an address; whether it is one of the first, which are remembered."""
        if address in self._strangers:
            return True
        if len(self._strangers) >= MOST_STRANGERS:
            return False
        self._strangers.add(address)
        # guests look for a PC's hardware at its ports
        level = logging.INFO if self.bus is Bus.PORT else logging.WARNING
        log.log(level, "%s of %d bytes at %s %#x, which no device claims", what, width, self.bus.name.lower(), address)
        return True
