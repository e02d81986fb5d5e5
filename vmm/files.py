"""Files that somebody names, which may be of any size, or have no end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

PIECE = 1 << 20         # bytes read at a time of what does not tell its size, as a pipe or a device


def read(path: Path, most: int) -> bytes:
    """All of a file, which is of `most` bytes at most.  Raises OSError: EFBIG, where there is more."""
    with open(path, "rb", opener=open_at_once) as file:
        size = os.fstat(file.fileno()).st_size
        pieces, length = [], 0
        while piece := file.read(min(max(size, PIECE), most + 1 - length)):
            pieces.append(piece)
            length += len(piece)
            if size > most or length > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def open_at_once(path: str | Path, flags: int) -> int:
    """A descriptor of a file or block device; a pipe that nobody writes to is not waited for.  Raises OSError."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd
