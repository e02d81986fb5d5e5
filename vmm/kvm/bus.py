"""Address -> (device, offset), for ports and for memory.  A device is told an offset, never
an address.  What nobody claims reads as all ones and ignores writes (as on a PC's bus)."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable

from ..devmodel.exit_path import Bus
from ..errors import UserError

log = logging.getLogger("splitvmm.bus")


class BusOverlap(UserError):
    """Two devices at one address."""


class AddressSpace:
    """One of the two buses."""

    def __init__(self, bus: Bus):
        self.bus = bus
        # both change by being replaced together, as other threads look things up meanwhile
        self._map: tuple[list[int], list[tuple[int, object, str]]] = [], []     # starts; (end, device, name)
        # what reads and writes registers, by address and width, once they were found
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
        self._map = [*starts[:at], base, *starts[at:]], [*ranges[:at], (base + size, device, name), *ranges[at:]]

    def remove(self, base: int) -> None:
        """Take away what was added there."""
        starts, ranges = self._map
        at = starts.index(base)
        self._map = starts[:at] + starts[at + 1:], ranges[:at] + ranges[at + 1:]
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
            self._log_stranger(address, width, "write")
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
            self._log_stranger(address, width, "read")
            return (1 << 8 * width) - 1
        if hasattr(device, "register_reader") and (found := device.register_reader(offset, width)):
            reads[address, width] = found
            return found()
        return device.read(offset, width)

    def _log_stranger(self, address: int, width: int, what: str) -> None:
        if address not in self._strangers and len(self._strangers) < 1000:
            self._strangers.add(address)
            # guests look for a PC's hardware at its ports
            level = logging.INFO if self.bus is Bus.PORT else logging.WARNING
            log.log(level, "%s of %d bytes at %s %#x, which no device claims", what, width,
                    self.bus.name.lower(), address)
