"""A descriptor for what a guest says.  It may be slow, full or gone: the guest goes on."""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections.abc import Callable

MOST = 64 << 10         # bytes that wait to be written; then whoever has more waits, too
CHUNK = select.PIPE_BUF # bytes written at once, so that a slow reader is seen to take them
LOOK_S = 0.1            # between looks whether a writer that waits is still wanted
PATIENCE_S = 1.0        # with a reader that takes nothing, once there is a hurry

log = logging.getLogger("splitvmm.output")


class Output:
    """Writes to `fd`, which it takes over, in order and at once, on a thread of its own.

    `stopped()` says that the machine ends: nobody waits for room then.  What the descriptor refuses
    is dropped, and said once.
    """

    def __init__(self, fd: int, name: str, stopped: Callable[[], bool] = lambda: False):
        self._fd, self._name, self._stopped = fd, name, stopped
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._done = 0              # bytes written or dropped, ever
        self._hurried, self._closing, self._through, self._said = False, False, False, False
        threading.Thread(target=self._run, daemon=True, name=f"{name} output").start()

    def write(self, data: bytes) -> None:
        """Waits while the descriptor takes no more; raises nothing."""
        with self._changed:
            while len(self._pending) >= MOST and not self._stopped():
                self._changed.wait(LOOK_S)
            self._pending += data
            self._changed.notify_all()

    def hurry(self) -> None:
        """From now on a reader that takes nothing for PATIENCE_S is not waited for."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def flush(self) -> None:
        """Until what there is now is written; if there is a hurry, until nothing moves any more."""
        with self._changed:
            end = self._done + len(self._pending)
            while self._done < end:
                done, hurried = self._done, self._hurried
                moved = self._changed.wait_for(
                    lambda done=done, hurried=hurried: self._done != done or self._hurried != hurried,
                    PATIENCE_S if hurried else None)
                if not moved:
                    return

    def close(self) -> None:
        """Write what is left, for as long as something moves.  A write that does not come back keeps
        its thread and the descriptor, until it does."""
        self.hurry()
        self.flush()
        with self._changed:
            if self._pending:
                self._say(f"{len(self._pending)} bytes were not taken")
                self._pending.clear()
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._through, PATIENCE_S)

    # on its thread

    def _run(self) -> None:
        while data := self._next():
            done = self._write(data)
            with self._changed:
                self._done += done
                del self._pending[:done]
                self._changed.notify_all()
        os.close(self._fd)
        with self._changed:
            self._through = True
            self._changed.notify_all()

    def _next(self) -> bytes:
        """What is to be written, or nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            return bytes(self._pending[:CHUNK])

    def _write(self, data: bytes) -> int:
        """How many bytes are dealt with."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:     # whoever we share it with made it so
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            poller.poll()
            return 0
        except OSError as error:
            self._say(os.strerror(error.errno or errno.EIO))
            return len(data)

    def _say(self, why: str) -> None:
        if not self._said:
            self._said = True
            log.warning("%s: %s; output is lost, the guest goes on", self._name, why)
