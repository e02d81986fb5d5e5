"""What a guest's serial port or console leads to, as descriptors."""

from __future__ import annotations

import fcntl
import os
import stat

from ..errors import UserError

STDOUT = 1


class Descriptor:
    """A descriptor that somebody is to close."""

    def __init__(self, fd: int):
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)


def _file(where: str, what: str, fresh: bool) -> int:
    """A file to append to, emptied first if it is to be `fresh`."""
    path = where.removeprefix("file=")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        raise UserError(f"{what} {where}: {error.strerror}; wanted a file to write") from None


def _stdout(where: str, what: str) -> int:
    """A file there is appended to: its position moves only with a write that io_uring completes where it
    is submitted (io_kiocb_update_pos, io_uring/rw.c), and others would be written over each other."""
    try:
        fd = os.dup(STDOUT)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        return fd
    except OSError as error:
        raise UserError(f"{what} {where}: standard output: {error.strerror}; wanted it open") from None


def open_output(where: str, what: str, fresh: bool = True) -> int | None:
    """For output alone: a descriptor, the caller's to close, or None for `null`.  Raises UserError."""
    if where in ("stdout", "stdio"):
        return _stdout(where, what)
    if where.startswith("file="):
        return _file(where, what, fresh)
    if where == "null":
        return None
    raise UserError(f"{what} {where}: unknown; wanted stdout, stdio, null or file=PATH")


def open_both(where: str, what: str, fresh: bool = True) -> tuple[int, int, int | None]:
    """(input or -1, output, where to put input for it or None); all the caller's.  The last one never
    makes a writer wait.  Raises UserError."""
    if where == "stdio":        # what is typed goes through the terminal's own keys first
        output = _stdout(where, what)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        return reader, output, writer
    if where.startswith("socket="):
        import socket
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(where.removeprefix("socket="))
        except OSError as error:
            made.close()
            raise UserError(f"{what} {where}: {error.strerror}; wanted a UNIX stream socket that listens") from None
        fd = made.detach()
        return fd, fd, None
    if where.startswith("file="):
        return -1, _file(where, what, fresh), None
    if where == "null":
        return -1, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), None
    raise UserError(f"{what} {where}: unknown; wanted stdio, null, file=PATH or socket=PATH")
