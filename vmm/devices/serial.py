"""A serial port's outside: who sends to it, and where what it sends goes.  The port itself, a 16550A, is in C
(vmm/native/serial.c), where vCPU threads reach it without Python.

What the guest sends waits there, SERIAL_SENT bytes at most, and is taken FLUSH_S after the first of them, or by the
vCPU's own thread when there is no room for more, which then waits for who reads it as the guest's output demands.
"""

from __future__ import annotations

import os
import threading

from ..kvm.vm import binding
from ..sync.signals import uninterrupted
from .output import Output

FLUSH_S = 0.005     # that a byte waits for further ones, at most


class Serial:
    """Eight byte-wide registers.  `room` is an eventfd, readable while `receive` takes more."""

    def __init__(self, output: Output | None, line=None):
        """`output`, which stays the caller's, gets what is sent; None throws it away."""
        self.output, self.line = output, line
        self.calls = 0      # accesses that came by Python; roughly, if several threads are at it
        self.room = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ffi, self._lib = binding()
        self._sent = os.eventfd(0, os.EFD_CLOEXEC)
        self._port = self._ffi.gc(self._lib.serial_new(self._sent if output else -1, self.room), self._lib.serial_free)
        self._taken = self._ffi.new("uint8_t[]", self._lib.SERIAL_SENT)
        self._taking = threading.Lock()     # from taking bytes to having written them: so they stay in order
        self._closing = threading.Event()
        self._flusher = threading.Thread(target=self._flush_by_time, daemon=True, name="serial port")
        if output:
            self._flusher.start()

    @property
    def sent(self) -> int:
        """Bytes that the guest has sent, ever."""
        return self._lib.serial_sent(self._port)

    def serve(self, vcpu, base: int) -> None:
        """Have a vCPU's loop answer accesses of the registers, at port `base`, without Python."""
        vcpu.loop.serial, vcpu.loop.serial_base = self._port, base
        vcpu.loop.serial_line = self.line.number

    def receive(self, data: bytes) -> int:
        """Bytes from outside, for the guest to read; how many there was room for."""
        taken = self._ffi.new("uint32_t *")
        self._raise(self._lib.serial_receive(self._port, data, len(data), taken))
        return taken[0]

    def write(self, offset: int, width: int, value: int) -> None:
        self.calls += 1
        while (done := self._lib.serial_write(self._port, offset, value & 0xff)) & self._lib.SERIAL_FULL:
            self._drain()
        self._raise(done)

    def read(self, offset: int, width: int) -> int:
        self.calls += 1
        value = self._lib.serial_read(self._port, offset)
        self._raise(value)
        return value & 0xff

    def _raise(self, done: int) -> None:
        if self.line and done & self._lib.SERIAL_RAISE:
            self.line.pulse()

    def _drain(self) -> None:
        """Have the output take what there is; waits while that takes no more."""
        with self._taking:
            if self.output and (taken := self._lib.serial_take(self._port, self._taken)):
                self.output.write(self._ffi.buffer(self._taken, taken)[:])

    def _flush_by_time(self) -> None:
        while os.eventfd_read(self._sent) and not self._closing.wait(FLUSH_S):
            self._drain()

    def flush(self) -> None:
        """Until what was sent is written."""
        with uninterrupted():       # or what was taken were lost
            self._drain()
        if self.output is not None:
            self.output.flush()

    def close(self) -> None:
        """`output` has all that was sent then.  No vCPU runs any more."""
        self._closing.set()
        if self._flusher.is_alive():
            os.eventfd_write(self._sent, 1)
            self._flusher.join()
        self._drain()
        os.close(self._sent)
        os.close(self.room)
