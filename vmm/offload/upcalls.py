"""What the kernel half has to say where no vCPU is at hand to be told."""

from __future__ import annotations

import os
import select
import threading
from time import monotonic

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Declined as DeclinedBlock
from ..devmodel.layout import layout_block
from ..devmodel.view import struct_of
from ..kvm.bpf import Maps, RingBuffer
from ..sync.handoff import Declined


class Upcalls:
    """Takes upcalls out of BPF's ring buffer and answers them, on a thread of its own.

    By the clock, it also looks after completions that nobody collected: a message injected where our programs
    could not see it.
    """

    POLL_S = 0.1        # between two looks

    def __init__(self, maps: Maps, ring_fd: int, hand_over, watched: dict[int, RegisterDevice], failed, tick):
        """`ring_fd` is of the map that calls come by; `watched` has, and goes on to have, the devices whose completions
        are looked after; `failed(error)` is told what ended the thread, and `tick()` is called each time."""
        self._hand_over, self._watched, self._failed, self._tick = hand_over, watched, failed, tick
        layout = layout_block(DeclinedBlock)
        self._unpack = struct_of(layout).unpack
        self._ring = RingBuffer(maps, ring_fd, layout.size)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True, name="upcalls")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:      # else what the kernel half has to say would go unheard
            self._failed(error)

    def _loop(self) -> None:
        poller, look = select.poll(), monotonic() + self.POLL_S
        for fd in (self._ring, self._stop):
            poller.register(fd, select.POLLIN)
        while True:
            ready = dict(poller.poll(max(0, 1000 * (look - monotonic()))))
            if self._stop in ready:
                return
            if ready:
                self._answer()
            if monotonic() >= look:         # however many calls come
                look = monotonic() + self.POLL_S
                for device in list(self._watched.values()):
                    device.poll_completions()
                self._tick()

    def _answer(self) -> None:
        for record in self._ring.take():
            self._hand_over(Declined._make(self._unpack(record)))

    def close(self) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._ring.close()
        os.close(self._stop)
