"""A 16550A serial port (National Semiconductor PC16550D data sheet)."""

from __future__ import annotations

import os
import threading
from collections import deque

from .output import Output

IER_RECEIVED, IER_EMPTY = 1, 2
IIR_NONE, IIR_EMPTY, IIR_RECEIVED, IIR_FIFOS = 1, 2, 4, 0xc0
FCR_ENABLE, FCR_CLEAR_RECEIVED = 1, 2
LCR_DLAB = 0x80
LSR_READY, LSR_OVERRUN, LSR_IDLE = 0x01, 0x02, 0x60
MCR_LOOP = 0x10
MSR_CONNECTED = 0xb0
FIFO_BYTES = 16
WAITING_BYTES = 4096        # at the far end of the line, until the guest has read what came before


class Serial:
    """Eight byte-wide registers.  `room` is an eventfd, readable while `receive` takes more."""

    def __init__(self, output: Output | None, line=None):
        """`output`, which stays the caller's, gets what is sent; None throws it away."""
        self.output, self.line = output, line
        self.room = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._received: deque[int] = deque()    # the receiver: its FIFO, or its one register
        self._waiting = bytearray()             # sent to us, and not in the receiver yet
        self._registers = {"ier": 0, "lcr": 3, "mcr": 8, "scr": 0, "dll": 12, "dlm": 0, "fcr": 0}
        self._empty_pending = self._overrun = False

    def receive(self, data: bytes) -> int:
        """Bytes from outside, for the guest to read; how many there was room for."""
        with self._lock:
            taken = data[:WAITING_BYTES - len(self._waiting)]
            self._waiting += taken
            if len(self._waiting) == WAITING_BYTES and taken:
                os.eventfd_read(self.room)
            self._refill()
            self._raise()
            return len(taken)

    def write(self, offset: int, width: int, value: int) -> None:
        value &= 0xff
        with self._lock:
            sent = self._write(offset, value)
        if sent and self.output is not None:
            self.output.write(bytes([value]))

    def _write(self, offset: int, value: int) -> bool:
        """Whether that sent a byte to the outside."""
        registers = self._registers
        if offset == 0 and not registers["lcr"] & LCR_DLAB:
            return self._send(value)
        if offset == 0:
            registers["dll"] = value
        elif offset == 1 and registers["lcr"] & LCR_DLAB:
            registers["dlm"] = value
        elif offset == 1:
            registers["ier"] = value & 0xf
            self._empty_pending = bool(value & IER_EMPTY)
            self._raise()
        elif offset == 2:
            self._control_fifos(value)
        elif offset in (3, 4, 7):
            registers[{3: "lcr", 4: "mcr", 7: "scr"}[offset]] = value
            self._refill()
        return False

    def read(self, offset: int, width: int) -> int:
        with self._lock:
            registers = self._registers
            if offset == 0 and not registers["lcr"] & LCR_DLAB:
                value = self._received.popleft() if self._received else 0
                self._refill()
                self._raise()
                return value
            if offset in (0, 1) and registers["lcr"] & LCR_DLAB:
                return registers["dlm" if offset else "dll"]
            if offset == 2:
                return self._identify()
            if offset == 5:
                return self._line_status()
            if offset == 6:
                return self._modem_status()
            return registers[{1: "ier", 3: "lcr", 4: "mcr", 7: "scr"}[offset]]

    def _send(self, value: int) -> bool:
        looped = bool(self._registers["mcr"] & MCR_LOOP)
        if looped:
            self._loop_back(value)
        self._empty_pending = True
        self._raise()
        return not looped

    @property
    def _depth(self) -> int:
        """Bytes that the receiver holds."""
        return FIFO_BYTES if self._registers["fcr"] & FCR_ENABLE else 1

    def _loop_back(self, value: int) -> None:
        """Overrun (data sheet, LSR bit 1): a full FIFO stays as it is, a full register is overwritten."""
        if len(self._received) < self._depth:
            self._received.append(value)
            return
        self._overrun = True
        if self._depth == 1:
            self._received[0] = value

    def _refill(self) -> None:
        """The receiver takes what waits, unless it listens to its own transmitter."""
        if self._registers["mcr"] & MCR_LOOP:
            return
        taken = self._waiting[:max(0, self._depth - len(self._received))]
        if taken and len(self._waiting) == WAITING_BYTES:
            os.eventfd_write(self.room, 1)
        self._received += taken
        del self._waiting[:len(taken)]

    def _control_fifos(self, value: int) -> None:
        """FCR: to switch the FIFOs on or off empties them, too (bit 0 there)."""
        if value & FCR_CLEAR_RECEIVED or (value ^ self._registers["fcr"]) & FCR_ENABLE:
            self._received.clear()
        self._registers["fcr"] = value
        self._refill()

    def _line_status(self) -> int:
        value = LSR_IDLE | (LSR_READY if self._received else 0) | (LSR_OVERRUN if self._overrun else 0)
        self._overrun = False       # reading it clears this one
        return value

    def _modem_status(self) -> int:
        mcr = self._registers["mcr"]
        if not mcr & MCR_LOOP:
            return MSR_CONNECTED
        return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4    # DTR RTS OUT1 OUT2

    def _cause(self) -> int:
        if self._received and self._registers["ier"] & IER_RECEIVED:
            return IIR_RECEIVED
        if self._empty_pending and self._registers["ier"] & IER_EMPTY:
            return IIR_EMPTY
        return IIR_NONE

    def _identify(self) -> int:
        cause = self._cause()
        if cause == IIR_EMPTY:
            self._empty_pending = False     # reading it clears this one
        return cause | (IIR_FIFOS if self._registers["fcr"] & FCR_ENABLE else 0)

    def _raise(self) -> None:
        if self.line and self._cause() != IIR_NONE:
            self.line.pulse()

    def flush(self) -> None:
        """Until what was sent is written."""
        if self.output is not None:
            self.output.flush()

    def close(self) -> None:
        os.close(self.room)
