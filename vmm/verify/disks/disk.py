"""An image that a device has, as whoever else has the file sees it."""

from __future__ import annotations

import mmap
from pathlib import Path

from ...devmodel.view import ffi


class Disk:
    """`path` is for the device, which may do I/O on it; `address` is that of all its bytes, in this process."""

    def __init__(self, path: Path):
        self.path = path
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 0)
        self.address, self.size = int(ffi.cast("uintptr_t", ffi.from_buffer(self._bytes))), len(self._bytes)

    def fail(self, operation: str, first: int, size: int, result: str) -> None:
        """From now on, if it can: see faulty.py."""

    def mend(self) -> None:
        """Nothing fails any more."""
