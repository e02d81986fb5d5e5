"""A 16550A serial port (National Semiconductor PC16550D data sheet)."""

from __future__ import annotations

import os
import stat
import threading
from collections import deque

IER_RECEIVED, IER_EMPTY = 1, 2
IIR_NONE, IIR_EMPTY, IIR_RECEIVED, IIR_FIFOS = 1, 2, 4, 0xc0
LCR_DLAB = 0x80
LSR_READY, LSR_IDLE = 0x01, 0x60
MCR_LOOP = 0x10
MSR_CONNECTED = 0xb0


class Serial:
    """Eight byte-wide registers; bytes go to the descriptor `output` at once, to a file in lines."""

    def __init__(self, output: int | None, line=None):
        """`output` None throws what is sent away."""
        self.output, self.line = output, line
        self._lock = threading.Lock()
        self._received: deque[int] = deque()
        self._registers = {"ier": 0, "lcr": 3, "mcr": 8, "scr": 0, "dll": 12, "dlm": 0, "fcr": 0}
        self._empty_pending = False
        self._pending = bytearray()
        self._in_lines = output is not None and stat.S_ISREG(os.fstat(output).st_mode)

    def receive(self, data: bytes) -> None:
        """Bytes from outside, for the guest to read."""
        with self._lock:
            self._received.extend(data)
            self._raise()

    def write(self, offset: int, width: int, value: int) -> None:
        value &= 0xff
        with self._lock:
            registers = self._registers
            if offset == 0 and not registers["lcr"] & LCR_DLAB:
                self._send(value)
            elif offset == 0:
                registers["dll"] = value
            elif offset == 1 and registers["lcr"] & LCR_DLAB:
                registers["dlm"] = value
            elif offset == 1:
                registers["ier"] = value & 0xf
                self._empty_pending = bool(value & IER_EMPTY)
                self._raise()
            elif offset == 2:
                registers["fcr"] = value
                if value & 2:
                    self._received.clear()
            elif offset in (3, 4, 7):
                registers[{3: "lcr", 4: "mcr", 7: "scr"}[offset]] = value

    def read(self, offset: int, width: int) -> int:
        with self._lock:
            registers = self._registers
            if offset == 0 and not registers["lcr"] & LCR_DLAB:
                value = self._received.popleft() if self._received else 0
                self._raise()
                return value
            if offset in (0, 1) and registers["lcr"] & LCR_DLAB:
                return registers["dlm" if offset else "dll"]
            if offset == 2:
                return self._identify()
            if offset == 5:
                return LSR_IDLE | (LSR_READY if self._received else 0)
            if offset == 6:
                return self._modem_status()
            return registers[{1: "ier", 3: "lcr", 4: "mcr", 7: "scr"}[offset]]

    def _send(self, value: int) -> None:
        if self._registers["mcr"] & MCR_LOOP:
            self._received.append(value)
        elif self.output is not None:
            self._pending.append(value)
            if value == 10 or not self._in_lines or len(self._pending) >= 256:
                self._flush()
        self._empty_pending = True
        self._raise()

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
        return cause | (IIR_FIFOS if self._registers["fcr"] & 1 else 0)

    def _raise(self) -> None:
        if self.line and self._cause() != IIR_NONE:
            self.line.pulse()

    def _flush(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        while data:
            data = data[os.write(self.output, data):]

    def flush(self) -> None:
        with self._lock:
            if self._pending:
                self._flush()
