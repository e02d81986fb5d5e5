"""Guest memory as the driver wrote it, beside guest memory as it is: what is otherwise was the device's doing."""

from __future__ import annotations

import threading

from vmm.kvm.memory import GuestMemory


class Mirror:
    """What a driver writes through this is known; what the device may write is told by `allow`."""

    def __init__(self, memory: GuestMemory):
        self._memory, self.size = memory, memory.size
        self._copy, self._allowed = bytearray(memory.view), []
        self._lock = threading.Lock()       # two vCPUs' writes come to both in the same order
        self.read, self.read_u16 = memory.read, memory.read_u16

    def write(self, gpa: int, data: bytes) -> None:
        with self._lock:
            self._copy[gpa:gpa + len(data)] = data
            self._memory.write(gpa, data)

    def write_u16(self, gpa: int, value: int) -> None:
        with self._lock:
            self._copy[gpa:gpa + 2] = value.to_bytes(2, "little")
            self._memory.write_u16(gpa, value)

    def allow(self, gpa: int, length: int) -> None:
        """The device may write here.  A run that is not all RAM names nothing that it may."""
        if gpa + length <= self.size:
            self._allowed.append((gpa, length))

    def accept(self) -> None:
        """What there is now is as it should be."""
        self._copy[:] = self._memory.view
        self._allowed.clear()

    def stray(self) -> int | None:
        """The first guest-physical address that is neither as the driver wrote it nor the device's to write."""
        view = self._memory.view
        for at, length in self._allowed:
            self._copy[at:at + length] = view[at:at + length]
        if self._copy == view:
            return None
        return next(at for at, (wanted, found) in enumerate(zip(self._copy, view)) if wanted != found)
