"""The signals that end `splitvmm run`: SIGTERM and SIGINT."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """Takes them, as a context manager; on the main thread.

    While a guest runs they stop it, as its own power-off would; otherwise they are a SystemExit, so that
    everything is closed.  `status` is what to exit with, if any came.

    CPython runs handlers on the main thread between two of its instructions, so that one which comes just
    before that thread waits, or to another thread, runs only when the wait is over: never, if it is for
    the guest.  A thread of our own is told at once (signal.set_wakeup_fd).
    """

    def __init__(self):
        self.status: int | None = None
        self._machine = None

    def __enter__(self) -> Ending:
        self._told, told = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(told, False)
        self._before = {number: signal.signal(number, self._received) for number in SIGNALS}
        self._woken = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="signals")
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        os.close(signal.set_wakeup_fd(self._woken))     # which ends the watcher
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._watcher.join()
        os.close(self._told)

    def _watch(self) -> None:
        while numbers := os.read(self._told, 64):       # a byte each
            for number in set(numbers) & set(SIGNALS):
                self._stop(number)

    def _stop(self, number: int) -> bool:
        """Whether there is a guest to stop."""
        machine = self._machine
        if machine is None:
            return False
        self.status = 128 + number
        machine.stop(self.status)
        return True

    def _received(self, number: int, _frame) -> None:
        if not self._stop(number):
            sys.exit(128 + number)

    @contextmanager
    def stops(self, machine):
        """For the block they stop this machine."""
        self._machine = machine
        try:
            yield
        finally:
            self._machine = None
