"""What handlers say by trace(), of both builds, as lines of the log."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

from ..devmodel.exit_path import Half, Traced
from ..devmodel.layout import layout_block
from ..devmodel.view import ffi
from ..kvm.bpf import BpfUnavailable, Maps

log = logging.getLogger("splitvmm.trace")
MOST = 64       # records taken at once


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
        self._maps: Maps | None = None
        self._ring = self._ring_fd = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="trace")
        self._thread.start()

    def listen(self, maps: Maps, ring_fd: int) -> None:
        """To a ring buffer, too."""
        self._ring = maps.lib.upcalls_open(ring_fd, self._size)
        if not self._ring:
            raise BpfUnavailable("BPF ring buffer: mapping it failed; wanted it to work")
        self._entries = maps.ffi.new("char[]", self._size * MOST)
        self._maps, self._ring_fd = maps, maps.lib.upcalls_fd(self._ring)
        self._poll.register(self._ring_fd, select.EPOLLIN)

    def _run(self) -> None:
        try:
            while not self._ended:
                for fd, _ in self._poll.poll():
                    self._take_ring() if fd == self._ring_fd else self._take_pipe()
            if self._ring:
                self._take_ring()
        except BaseException as error:
            self._failed(error)

    def _take_pipe(self) -> None:
        data = os.read(self._pipe, self._size * MOST)
        for at in range(0, len(data) - self._size + 1, self._size):     # each was written in one piece
            self._say(data[at:at + self._size])

    def _take_ring(self) -> None:
        while (count := self._maps.lib.upcalls_take(self._ring, self._entries, MOST)) > 0:
            for i in range(count):
                self._say(bytes(ffi.buffer(self._entries + i * self._size, self._size)))

    def _say(self, record: bytes) -> None:
        slot, half = (int.from_bytes(record[at:at + 4], "little") for at in (0, 4))
        text = record[self._text:].partition(b"\0")[0].decode(errors="backslashreplace")
        log.info("%s (%s): %s", self._name_of(slot), "kernel" if half == Half.KERNEL else "native", text)

    def close(self) -> None:
        """After what was said before has been logged."""
        self._ended = True
        os.write(self.native_fd, b"\0")     # no whole record
        self._thread.join()
        if self._ring:
            self._maps.lib.upcalls_close(self._ring)
        self._poll.close()
        os.close(self._pipe)
        os.close(self.native_fd)
