"""The memory that devices are put in: register pages, memory of their own, state, io_urings."""

from __future__ import annotations

from ..devmodel.exit_path import CHUNK, PAGES
from ..devmodel.layout import PAGE
from ..devmodel.uring import STRIDE
from ..errors import UserError
from ..kvm.bpf import Maps
from ..sync.region import Piece, Region


class SharedPlaces:
    """Register pages and device state: BPF map memory where `maps` is given, else a memfd."""

    def __init__(self, maps: Maps | None):
        self.maps = maps
        self.pages_fd = maps.array("pages", PAGE, PAGES) if maps else -1
        self.pages = Region("pages", [Piece(self.pages_fd, 0, PAGE * PAGES)]) if maps else \
            Region.anonymous("pages", PAGE * PAGES)
        self._states: list[Region] = []
        self._pages_taken = 0

    def take_pages(self, name: str, count: int) -> tuple[int, int]:
        """`count` register pages for a device: the first one's number, and its address.  Raises UserError."""
        first = self._pages_taken
        if first + count > PAGES:
            raise UserError(f"{name}: {count} register pages, and {first} that other devices have; wanted at most "
                            f"{PAGES}")
        self._pages_taken += count
        return first, self.pages.address + first * PAGE

    def state(self, name: str, size: int) -> tuple[Region, int]:
        """Memory for one device's state, and the map that it lies in (or -1)."""
        whole = -(-size // PAGE) * PAGE
        fd = -1
        if self.maps:
            fd = self.maps.array("state", size, 1, shared=False)    # every device has its own
            region = Region(f"state of {name}", [Piece(fd, 0, whole)], (fd,))
        else:
            region = Region.anonymous("state", size)
        self._states.append(region)
        return region, fd

    def memory(self, name: str, size: int) -> tuple[int, int]:
        """Memory of a device's own, and the map that it lies in (or -1).  Behind it lies slack, which
        is no guest's, as behind guest memory."""
        if not size:
            return 0, -1
        fd = -1
        if self.maps:
            fd = self.maps.array("memory_of_device", size + CHUNK, 1, shared=False)
            region = Region(f"memory of {name}", [Piece(fd, 0, size + CHUNK)], (fd,))
        else:
            region = Region.anonymous("device-memory", size + CHUNK)
        self._states.append(region)
        return region.address, fd

    def urings(self, name: str, count: int) -> tuple[int, int]:
        """Memory for the io_urings of `count` queues, and the map that it lies in (or -1)."""
        if not count:
            return 0, -1
        fd = -1
        if self.maps:
            fd = self.maps.array("urings", STRIDE, count, shared=False)
            region = Region(f"io_urings of {name}", [Piece(fd, 0, STRIDE * count)], (fd,))
        else:
            region = Region.anonymous("urings", STRIDE * count)
        self._states.append(region)
        return region.address, fd

    def close(self) -> None:
        """What is in it can still be looked at, by views of devices."""
        for region in (*self._states, self.pages):
            region.release()
