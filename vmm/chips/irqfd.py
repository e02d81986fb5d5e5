"""Interrupts from eventfds: what KVM_IRQFD does in the kernel, by a thread."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from ..errors import UserError


class IrqfdPoller:
    """Reads eventfds as they are signalled, and pulses the GSI of each."""

    def __init__(self, pulse: Callable[[int], None]):
        self._pulse = pulse
        self._lock = threading.Lock()           # held while a GSI is pulsed
        self._gsis: dict[int, int] = {}         # of eventfds
        self._epoll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._end, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="irqfds", daemon=True)
        self._thread.start()

    def register(self, fd: int, gsi: int) -> None:
        """From now on; one that is signalled already counts."""
        if os.get_blocking(fd):
            raise UserError(f"irqfd {fd} of GSI {gsi} blocks; wanted an eventfd with EFD_NONBLOCK")
        with self._lock:
            try:
                self._epoll.register(fd, select.EPOLLIN)
            except FileExistsError:
                raise UserError(f"irqfd {fd} raises GSI {self._gsis.get(fd)} already; wanted one for each") from None
            self._gsis[fd] = gsi

    def unregister(self, fd: int) -> None:
        """No longer: when this returns, the last pulse by it is over.  Not to be called from one."""
        with self._lock:
            if self._gsis.pop(fd, None) is None:
                raise UserError(f"irqfd {fd} raises no GSI; wanted one that does")
            self._epoll.unregister(fd)

    def _run(self) -> None:
        while True:
            for fd, _events in self._epoll.poll():
                if fd == self._end:
                    return
                with self._lock:
                    self._signalled(fd)

    def _signalled(self, fd: int) -> None:
        gsi = self._gsis.get(fd)
        if gsi is None:
            return
        try:
            os.eventfd_read(fd)
        except OSError:         # someone else has read it, or closed it
            return
        self._pulse(gsi)

    def close(self) -> None:
        """No more pulses.  The eventfds are their owners' to close."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._end)
