"""The memory that devices are put in: register pages, state, io_urings."""

from __future__ import annotations

from ..devmodel.exit_path import PAGES
from ..devmodel.layout import PAGE
from ..devmodel.uring import STRIDE
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

    def page(self, slot: int) -> int:
        return self.pages.address + slot * PAGE

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
        for region in (*self._states, self.pages):
            region.close()
