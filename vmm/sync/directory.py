"""What a VM says of itself to whoever looks at it from another process: where in its memory its devices' shared state
lies.  Nothing is asked of the VM for that, and nothing of it waits for the one who looks.

The directory is a mapping of its own, of a memfd by the name of NAME, which is how it is found (proc_pid_maps(5)):
HEADER, then msgpack.  `sequence` is odd while it changes, and from the moment on when it is withdrawn.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

from ..devmodel.device_layout import hash_of
from ..devmodel.uring import uring_layout
from ..devmodel.virtqueue import control_layout, queue_layout

NAME = "splitvmm-directory"
MAGIC = b"splitvmm"
FORMAT = 2
HEADER = struct.Struct("<8sIIII")       # MAGIC, FORMAT, sequence, bytes of what follows, nothing
SEQUENCE = 12                           # where it is in the header
ROOM = 1 << 19                          # bytes; those that are not used are no memory
LONGEST = 64                            # characters of a name in it: what is longer ends there


def blocks_hash() -> int:
    """Of all structs that are read by the directory alone, whatever device they belong to."""
    return hash_of([control_layout(), queue_layout(), uring_layout()])


class Directory:
    """One VM's, which says `contents` from the moment on when it can be found.  Its writer is one thread at a time."""

    def __init__(self, contents: dict[str, Any]):
        self._sequence, packed = 0, _packed(contents)
        fd = os.memfd_create(NAME)
        try:
            os.ftruncate(fd, ROOM)
            os.pwrite(fd, self._header(len(packed)) + packed, 0)
            self._memory = mmap.mmap(fd, ROOM)
        finally:
            os.close(fd)
        self._memory.madvise(mmap.MADV_DONTFORK)    # a child has none of the devices

    def write(self, contents: dict[str, Any]) -> None:
        """In place of what it said.  Stores reach a reader in their order, as x86 has it."""
        packed = _packed(contents)
        self._count()
        self._memory[:HEADER.size] = self._header(len(packed))
        self._memory[HEADER.size:HEADER.size + len(packed)] = packed
        self._count()

    def _header(self, size: int) -> bytes:
        return HEADER.pack(MAGIC, FORMAT, self._sequence, size, 0)

    def _count(self) -> None:
        """The next sequence, by one store."""
        self._sequence = self._sequence + 1 & 0xffffffff
        self._memory[SEQUENCE:SEQUENCE + 4] = self._sequence.to_bytes(4, "little")

    def close(self) -> None:
        """Nothing that it told of may be looked at any more."""
        self._count()
        self._memory.close()


def _packed(contents: dict[str, Any]) -> bytes:
    import msgpack
    packed: bytes = msgpack.packb(contents)
    if HEADER.size + len(packed) > ROOM:
        raise ValueError(f"{len(packed)} bytes of directory; wanted at most {ROOM - HEADER.size}")
    return packed
