"""Drivers in Python of our own devices, in a guest's place."""

from __future__ import annotations

import struct
from time import monotonic, sleep

from vmm.devmodel.devices.blk import ID_BYTES, SECTOR, RequestType
from vmm.testing.driver import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    INDIRECT,
    NEEDS_RESET,
    NEXT,
    WRITE,
    Driver,
    PackedRing,
    Registers,
    Ring,
)
from vmm.virtio.virtio_device import EVENT_IDX, INDIRECT_DESC, RING_PACKED

PATIENCE_S = 1       # for what is done at once, or by the ring's thread


class BlkDriver(Driver):
    """Issues block requests, one at a time."""

    HEADER, STATUS, DATA = 0x80000, 0x80100, 0x90000    # guest-physical places of the driver's own

    def header(self, kind: int, sector: int) -> None:
        self.memory.write(self.HEADER, struct.pack("<IIQ", kind, 0, sector))
        self.memory.write(self.STATUS, b"\xff")

    def status(self) -> int:
        return self.memory.read(self.STATUS, 1)[0]

    def request(self, kind: int, sector: int, parts: list[tuple[int, int, int]] = (), queue: int = 0) -> int:
        """One request over data buffers (address, length, flags); returns the verdict."""
        ring = self.rings[queue]
        self.header(kind, sector)
        ring.request([(self.HEADER, 16, 0), *parts, (self.STATUS, 1, WRITE)])
        return ring.ring()

    def read(self, sector: int, count: int, queue: int = 0) -> bytes:
        """`count` sectors; raises OSError with the virtio status."""
        self.request(RequestType.IN, sector, [(self.DATA, count * SECTOR, WRITE)], queue)
        self._done(queue, count * SECTOR + 1)
        return self.memory.read(self.DATA, count * SECTOR)

    def write(self, sector: int, data: bytes, queue: int = 0) -> None:
        self.memory.write(self.DATA, data)
        self.request(RequestType.OUT, sector, [(self.DATA, len(data), 0)], queue)
        self._done(queue, 1)

    def flush(self) -> None:
        self.request(RequestType.FLUSH, 0)
        self._done(0, 1)

    def identify(self) -> bytes:
        self.request(RequestType.GET_ID, 0, [(self.DATA, ID_BYTES, WRITE)])
        self._done(0, ID_BYTES + 1)
        return self.memory.read(self.DATA, ID_BYTES).rstrip(b"\0")

    def _done(self, queue: int, written: int) -> None:
        started = monotonic()
        while not (used := self.rings[queue].take()) and monotonic() < started + PATIENCE_S:
            sleep(0)        # the doorbell may have been left to who looks at the queue
        if used != [(0, written)] or self.status():
            raise OSError(self.status(), f"used {used}, status {self.status()}; wanted [(0, {written})], 0")


class NetDriver(Driver):
    """Sends packets, and posts buffers for them."""

    SEND, COMMAND, RECEIVE = 0x80000, 0xa0000, 0x100000     # guest-physical
    HEADER = bytes(12)

    def post(self, count: int, length: int = 2048, pair: int = 0, first: int = 0) -> int:
        """Make `count` receive buffers available; returns the doorbell's verdict."""
        ring = self.rings[2 * pair]
        for i in range(first, first + count):
            ring.request([(self.RECEIVE + pair * 0x40000 + i * length, length, WRITE)], i)
        return ring.registers.write("queue_notify", ring.index)

    def send(self, *frames: bytes, pair: int = 0, cut: int = 0) -> int:
        """Send frames with one doorbell, and wait until they are used; `cut` splits off the first bytes."""
        ring = self.rings[2 * pair + 1]
        at = self.SEND
        for i, frame in enumerate(frames):
            packet = self.HEADER + frame
            self.memory.write(at, packet)
            parts = [(at, cut, 0), (at + cut, len(packet) - cut, 0)] if cut else [(at, len(packet), 0)]
            ring.request(parts, 2 * i)
            at += len(packet)
        return ring.ring()

    def received(self, count: int, length: int = 2048, pair: int = 0, timeout_s: float = 5) -> list[bytes]:
        """The next `count` packets, headers included, however many buffers each fills; `taken` has the
        buffers' numbers."""
        self.taken: list[int] = []
        ring, found, deadline, left = self.rings[2 * pair], [], monotonic() + timeout_s, 0
        while len(found) < count or left:
            for head, written in ring.take():
                self.taken.append(head)
                data = self.memory.read(self.RECEIVE + pair * 0x40000 + head * length, written)
                if left:
                    found[-1] += data
                    left -= 1
                else:
                    found.append(data)
                    left = int.from_bytes(data[10:12], "little") - 1
            assert monotonic() < deadline, f"{len(found)} of {count} packets after {timeout_s} s"
            sleep(0.0005)
        return found

    def command(self, kind: int, command: int, data: bytes = b"") -> int:
        """One command; its answer."""
        ring = self.rings[-1]
        self.memory.write(self.COMMAND, bytes([kind, command]) + data + b"\xff")
        end = self.COMMAND + 2 + len(data)
        ring.request([(self.COMMAND, 2 + len(data), 0), (end, 1, WRITE)])
        ring.ring()
        return self.memory.read(end, 1)[0]


__all__ = ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "BlkDriver", "NetDriver", "Driver", "Registers",
           "Ring", "PackedRing", "EVENT_IDX", "INDIRECT_DESC", "RING_PACKED", "NEXT", "WRITE", "INDIRECT",
           "NEEDS_RESET"]
