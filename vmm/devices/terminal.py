"""The terminal that splitvmm runs in, as a guest's console: raw while the guest runs, and given
back as it was found.  Ctrl-A x ends the guest, Ctrl-A Ctrl-A sends a Ctrl-A."""

from __future__ import annotations

import logging
import os
import select
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress

from ..devmodel.record import record
from ..errors import UserError

STDIN = 0
ESCAPE = 1              # Ctrl-A
READ_BYTES = 4096       # read at once; no more is held of a pipe or a file
HELD_BYTES = 64 << 10   # held of a terminal, which is read on for the sake of Ctrl-A x

log = logging.getLogger("splitvmm.terminal")


@record
class Sink:
    """Where typed bytes go: `receive(data)` takes as many as there is room for, and says how many;
    there is some when `fd` is ready for `event` (poll(2))."""

    fd: int
    event: int
    receive: Callable[[bytes], int]


class Terminal:
    """Standard input, to `sink`, until it is closed.  `stop()` is what Ctrl-A x does; `failed(error)` is
    told what ended its thread.  What a guest does not read is not read from a pipe or file either;
    of a terminal, the rest is dropped."""

    def __init__(self, sink: Sink, stop: Callable[[], None], failed: Callable[[BaseException], None]):
        self._sink, self._stop, self._failed = sink, stop, failed
        self._saved, self._escaped = None, False
        self._held = bytearray()
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True, name="stdin")

    def start(self) -> None:
        """Raises UserError."""
        if os.isatty(STDIN):
            try:
                self._saved = termios.tcgetattr(STDIN)
                tty.setraw(STDIN)
            except termios.error as error:
                raise UserError(f"standard input: {error.args[1]}; wanted a terminal that can be put in raw mode, "
                                "or no terminal") from None
        self._thread.start()

    def restore(self) -> None:
        """Give the terminal back, if it is still there."""
        if self._saved:
            with suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSANOW, self._saved)

    def close(self) -> None:
        if self._thread.ident:
            os.eventfd_write(self._end, 1)
            self._thread.join()
        self.restore()
        os.close(self._end)

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:
            self._failed(error)

    def _step(self) -> bool:
        """Wait, and move what can be moved; whether there can be more."""
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        if self._saved or not self._held:
            poller.register(STDIN, select.POLLIN)
        if self._held:
            poller.register(self._sink.fd, self._sink.event)
        ready = {fd for fd, _ in poller.poll()}
        if self._end in ready:
            return False
        if self._sink.fd in ready:
            del self._held[:self._sink.receive(bytes(self._held))]
        return STDIN not in ready or self._read()

    def _read(self) -> bool:
        """Whether there can be more."""
        try:
            data = os.read(STDIN, READ_BYTES)
        except BlockingIOError:     # whoever we share it with made it so
            return True
        except OSError as error:
            log.warning("standard input: %s; the guest goes on without it", error.strerror)
            return False
        kept = self._keys(data) if self._saved else data
        self._held += kept[:HELD_BYTES - len(self._held)]
        return bool(data)

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
