"""Memory that both sides map: BPF map memory where a kernel half is to see it, else a memfd.

A region may be put together from several pieces, contiguous in this process, with a page
of nothing on either side so that running off its end cannot go unnoticed.
"""

from __future__ import annotations

import os

from ..devmodel.record import record
from ._shared import ffi, lib

PAGE = 4096     # bytes
NO_FILE = -1


@record
class Piece:
    """`length` bytes of the file `fd` from `offset`; whole pages.  With NO_FILE they are this process's alone, in huge
    pages where the kernel has them (Documentation/admin-guide/mm/transhuge.rst)."""

    fd: int
    offset: int
    length: int


class Region:
    """Shared memory at `address`, `size` bytes, also as the memoryview `view`."""

    def __init__(self, name: str, pieces: list[Piece], owned_fds: tuple[int, ...] = ()):
        """Takes `owned_fds` over.  Raises OSError if the memory cannot be mapped."""
        self.name, self._released, self.address = name, False, 0
        self.size = sum(piece.length for piece in pieces)
        self.fds = owned_fds
        self.address = lib.reserve(self.size)
        if not self.address:
            raise MemoryError(f"{name}: no address space for {self.size:#x} bytes")
        at = self.address
        for piece in pieces:
            error = lib.map_private(at, piece.length) if piece.fd == NO_FILE else \
                lib.map_fixed(at, piece.length, piece.fd, piece.offset)
            if error < 0:
                self._unmap()
                raise OSError(-error, f"{name}: mapping {piece.length:#x} bytes: {os.strerror(-error)}")
            at += piece.length
        self.view = memoryview(ffi.buffer(ffi.cast("char *", self.address), self.size)).cast("B")

    @classmethod
    def anonymous(cls, name: str, size: int) -> Region:
        """Plain shared memory, zeroed; whole pages."""
        size = -(-size // PAGE) * PAGE
        fd = os.memfd_create(f"splitvmm-{name}")
        os.ftruncate(fd, size)
        return cls(name, [Piece(fd, 0, size)], (fd,))

    @classmethod
    def private(cls, name: str, size: int) -> Region:
        """Memory that no other process can map, zeroed; whole pages."""
        return cls(name, [Piece(NO_FILE, 0, -(-size // PAGE) * PAGE)])

    def close(self) -> None:
        """Unmap; nothing may use the memory any more."""
        self.release()
        self._unmap()

    def release(self) -> None:
        """Nobody needs it any more, but views of it may still be looked at: it is unmapped with the last of what
        keeps this object."""
        if not self._released:
            self._released = True
            self.view.release()
            for fd in self.fds:
                os.close(fd)

    def _unmap(self) -> None:
        if self.address:
            lib.unreserve(self.address, self.size)
            self.address = 0

    def __del__(self) -> None:
        self._unmap()
