"""The file of a recording: never longer than it may be, never cut inside an item, and nobody's trouble when it can
take no more."""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from time import monotonic

from ..errors import UserError

log = logging.getLogger("splitvmm")

RESERVE = 256       # bytes of the file that are kept for the last item
PATIENCE_S = 2.0    # with the reader of a pipe, once the recording ends
LOOK_S = 0.1        # between two looks at whether it ends


class RecordFile:
    """Items are bytes, each written whole or not at all."""

    def __init__(self, path: Path, most_bytes: int, fresh: bool):
        """Emptied first if it is to be `fresh`.  Raises UserError."""
        self._path, self._most = path, most_bytes
        self.failed = ""                    # why nothing more is written
        self._deadline: float | None = None
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise UserError(f"--record {path}: {error.strerror}; wanted a file to write") from None
        status = os.fstat(self._fd)
        self._regular = stat.S_ISREG(status.st_mode)
        self._size = status.st_size if self._regular else 0
        os.set_blocking(self._fd, False)    # of a pipe whose reader has stopped

    def write(self, items: list[bytes]) -> int:
        """As many of them as there is room for; how many that were."""
        if self.failed:
            return 0
        ends = list(accumulate(map(len, items)))
        room = self._most - RESERVE - self._size
        fit = sum(end <= room for end in ends) if ends and ends[-1] > room else len(items)
        written = self._write(b"".join(items[:fit]))
        whole = sum(end <= written for end in ends[:fit]) if self.failed else fit
        if self.failed and whole:
            written = ends[whole - 1]
        elif self.failed:
            written = 0
        self._size += written
        if self.failed and self._regular:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
        if fit < len(items):
            self._stop(f"{self._most:,} bytes, as many as it may have (max=)")
        return whole

    def end(self, item: bytes) -> None:
        """Write the last one, if that can be, and close."""
        self.ending()
        if not self.failed or self._size >= self._most - RESERVE - len(item):
            with suppress(OSError):
                os.write(self._fd, item)
        os.close(self._fd)

    def ending(self) -> None:
        """Be patient no longer than PATIENCE_S from now on."""
        self._deadline = self._deadline or monotonic() + PATIENCE_S

    def _write(self, data: bytes) -> int:
        """How many bytes were taken; `failed` if that is not all."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest):]
            except BlockingIOError:
                if not self._wait():
                    self._stop("whoever reads it has stopped")
                    break
            except OSError as error:
                self._stop("whoever reads it has gone" if error.errno == errno.EPIPE else error.strerror or str(error))
                break
        return len(data) - len(rest)

    def _wait(self) -> bool:
        """Until it takes more; False when there is no more patience."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not poll.poll(1000 * LOOK_S):
            if self._deadline is not None and monotonic() > self._deadline:
                return False
        return True

    def _stop(self, why: str) -> None:
        self.failed = why
        log.warning("--record %s: %s; the guest goes on, and nothing more is recorded", self._path, why)
