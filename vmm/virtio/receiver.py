"""A thread that waits for input on behalf of receive queues that userspace holds; those in the
kernel's hands have reads there."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable


class Receiver:
    """Calls what `sources()` names for a descriptor, when that is readable.

    `sources()` is asked with the device's lock held, before and after each wait; `nudge()` says that it would
    answer something else now.  `on_idle()` is called, likewise, when nothing came for `idle_s()` seconds,
    if that is not None.
    """

    def __init__(self, device, sources: Callable[[], dict[int, Callable[[], None]]],
                 on_idle: Callable[[], None] = lambda: None, idle_s: Callable[[], float | None] = lambda: None):
        self._lock, self._failed = device.lock, device.failed
        self._sources, self._on_idle, self._idle_s = sources, on_idle, idle_s
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"{device.name} receive")
        self._thread.start()

    def nudge(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:      # else input would wait for ever, and nobody know why
            self._failed(error)

    def _loop(self) -> None:
        while not self._closing:
            poller = select.poll()
            poller.register(self._wake, select.POLLIN)
            with self._lock:
                for fd in self._sources():
                    poller.register(fd, select.POLLIN)
                idle_s = self._idle_s()
            ready = [fd for fd, _ in poller.poll(None if idle_s is None else 1000 * idle_s)]
            if self._wake in ready:
                os.eventfd_read(self._wake)
            with self._lock:
                if not ready:
                    self._on_idle()
                calls = self._sources() if ready and not self._closing else {}
                for fd in ready:
                    if fd in calls:
                        calls[fd]()

    def close(self) -> None:
        self._closing = True
        self.nudge()
        self._thread.join()
        os.close(self._wake)
