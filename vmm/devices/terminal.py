"""The terminal that splitvmm runs in, as a guest's console: raw while the guest runs, and given
back as it was found.  Ctrl-A x ends the guest, Ctrl-A Ctrl-A sends a Ctrl-A."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable

ESCAPE = 1      # Ctrl-A


class Terminal:
    """Standard input, to `receive(bytes)`, until it is closed.  `stop()` is what Ctrl-A x does."""

    def __init__(self, receive: Callable[[bytes], None], stop: Callable[[], None]):
        self._receive, self._stop = receive, stop
        self._fd, self._saved, self._escaped = sys.stdin.fileno(), None, False
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True, name="stdin")

    def start(self) -> None:
        if os.isatty(self._fd):
            self._saved = termios.tcgetattr(self._fd)
            tty.setraw(self._fd)
        self._thread.start()

    def close(self) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        if self._saved:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
        os.close(self._end)

    def _run(self) -> None:
        poller = select.poll()
        for fd in (self._fd, self._end):
            poller.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._end in ready:
                return
            data = os.read(self._fd, 4096)
            if not data:
                return
            if self._saved:
                data = self._keys(data)
            if data:
                self._receive(data)

    def _keys(self, data: bytes) -> bytes:
        """What is typed, less what is for us."""
        kept = bytearray()
        for key in data:
            if self._escaped:
                self._escaped = False
                if key in b"xX":
                    self._stop()
                elif key == ESCAPE:
                    kept.append(key)
            elif key == ESCAPE:
                self._escaped = True
            else:
                kept.append(key)
        return bytes(kept)
