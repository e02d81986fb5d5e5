"""What handlers say by trace(), of both builds, as lines of the log."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

from ..devmodel.exit_path import Half, Traced
from ..devmodel.layout import layout_block
from ..kvm.bpf import Maps, RingBuffer

log = logging.getLogger("splitvmm.trace")
MOST = 64       # records taken out of the pipe at once


class Tracing:
    """Takes records of `struct traced` out of BPF's ring buffer and out of a pipe, on a thread of its own, and
    logs them."""

    def __init__(self, name_of: Callable[[int], str], failed: Callable[[BaseException], None]):
        """`name_of(slot)` names a device; `failed(error)` is told what ended the thread."""
        self._name_of, self._failed = name_of, failed
        layout = layout_block(Traced)
        self._size, self._text = layout.size, layout.field("text").offset
        self._pipe, self.native_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._pipe, select.EPOLLIN)
        self._ring: RingBuffer | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="trace")
        self._thread.start()

    def listen(self, maps: Maps, ring_fd: int) -> None:
        """To a ring buffer, too."""
        self._ring = RingBuffer(maps, ring_fd, self._size)
        self._poll.register(self._ring, select.EPOLLIN)

    def _run(self) -> None:
        try:
            said = True
            while said:
                for fd, _ in self._poll.poll():
                    if fd == self._pipe:
                        said = self._take_pipe()
                    else:
                        self._take_ring()
            self._take_ring()
        except BaseException as error:
            self._failed(error)

    def _take_pipe(self) -> bool:
        """Whether anybody may say more: its writing end is open."""
        data = os.read(self._pipe, self._size * MOST)
        for at in range(0, len(data) - self._size + 1, self._size):     # each was written in one piece
            self._say(data[at:at + self._size])
        return bool(data)

    def _take_ring(self) -> None:
        while self._ring and (records := self._ring.take()):
            for record in records:
                self._say(record)

    def _say(self, record: bytes) -> None:
        slot, half = (int.from_bytes(record[at:at + 4], "little") for at in (0, 4))
        text = record[self._text:].partition(b"\0")[0].decode(errors="backslashreplace")
        log.info("%s (%s): %s", self._name_of(slot), "kernel" if half == Half.KERNEL else "native", text)

    def close(self) -> None:
        """After what was said before has been logged.  No handler says anything any more."""
        os.close(self.native_fd)    # which the thread sees as the end, behind all that is in the pipe
        self._thread.join()
        if self._ring:
            self._ring.close()
        self._poll.close()
        os.close(self._pipe)
