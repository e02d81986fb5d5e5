"""Address -> (device, offset), for ports and for memory.  A device is told an offset, never
an address.  What nobody claims reads as all ones and ignores writes (as on a PC's bus)."""

from __future__ import annotations

import logging
from bisect import bisect_right

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
        self._strangers: set[int] = set()

    def add(self, base: int, size: int, device, name: str) -> None:
        """`device` answers `read(offset, width)` and `write(offset, width, value)`."""
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

    def find(self, address: int, width: int):
        """(device, offset) of an access that lies wholly inside one device, else (None, 0)."""
        starts, ranges = self._map
        at = bisect_right(starts, address) - 1
        if at >= 0 and address + width <= ranges[at][0]:
            return ranges[at][1], address - starts[at]
        return None, 0

    def write(self, address: int, width: int, value: int) -> None:
        device, offset = self.find(address, width)
        if device is None:
            self._log_stranger(address, width, "write")
        else:
            device.write(offset, width, value)

    def read(self, address: int, width: int) -> int:
        device, offset = self.find(address, width)
        if device is None:
            self._log_stranger(address, width, "read")
            return (1 << 8 * width) - 1
        return device.read(offset, width)

    def _log_stranger(self, address: int, width: int, what: str) -> None:
        if address not in self._strangers and len(self._strangers) < 1000:
            self._strangers.add(address)
            # guests look for a PC's hardware at its ports
            level = logging.INFO if self.bus is Bus.PORT else logging.WARNING
            log.log(level, "%s of %d bytes at %s %#x, which no device claims", what, width,
                    self.bus.name.lower(), address)
