"""Drivers that break rules, one for each kind of device, and a sound request of each, by which one sees whether a
device works."""

from __future__ import annotations

import select
import socket
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, ClassVar

from tools.driver import INDIRECT_DESC, WRITE, BlkDriver, Driver, NetDriver, PackedRing, Ring
from vmm.devices.net_features import CTRL_MAC_ADDR, CTRL_RX, CTRL_VLAN, CTRL_VQ, MAC, MQ, STATUS
from vmm.devmodel.devices.blk import SECTOR, RequestType
from vmm.devmodel.devices.console import RECEIVE, TRANSMIT, ConsoleConfig
from vmm.devmodel.devices.net import HEADER_BYTES
from vmm.devmodel.layout import layout_block
from vmm.virtqueue.packed_ring import PackedRing as UserPackedRing
from vmm.virtqueue.split_ring import SplitRing as UserSplitRing

from .mirror import Mirror

PATIENCE_S = 5.0        # with a device that has something to do
MAC_ADDRESS = bytes.fromhex("020000000001")


class _Noting:
    """A ring that lets the device write what its descriptors say that it may."""

    def put(self, index: int, address: int, length: int, flags: int = 0, following: int = 0,
            table: int | None = None) -> None:
        if flags & WRITE:
            self.memory.allow(address, length)
        super().put(index, address, length, flags, following, table)

    def request(self, parts: list[tuple[int, int, int]], head: int = 0) -> None:
        """A packed ring's first flags are written last, and not by `put`."""
        for address, length, flags in parts:
            if flags & WRITE:
                self.memory.allow(address, length)
        super().request(parts, head)


class VillainSplitRing(_Noting, Ring):
    areas = UserSplitRing.areas

    def allow(self) -> None:
        """The used ring is the device's."""
        self.memory.allow(self.used, self.areas(self.size)[2][1])


class VillainPackedRing(_Noting, PackedRing):
    areas = UserPackedRing.areas

    def __init__(self, driver: Driver, index: int, size: int, base: int):
        super().__init__(driver, index, size, base)
        self.slots = defaultdict(lambda: 1)     # also of chains that the driver never knew of

    def allow(self) -> None:
        """Used descriptors take the place of available ones (2.8.6); the device event area is the device's."""
        self.memory.allow(self.desc, self.areas(self.size)[0][1])
        self.memory.allow(self.used, self.areas(self.size)[2][1])


@dataclass
class Villain(Driver):
    """A driver in a memory that is watched.  `peer` is the other end of the wire, if there is one."""

    mirror: Mirror = None
    peer: socket.socket | None = None

    SPLIT, PACKED = VillainSplitRing, VillainPackedRing
    FEATURES = INDIRECT_DESC
    QUEUE = 0           # which requests go to
    EMERGENCY_WRITE: ClassVar[int | None] = None    # where in device configuration, in bytes

    def __post_init__(self) -> None:
        self.base_features = self.features
        super().__post_init__()

    @property
    def memory(self) -> Mirror:
        return self.mirror

    @memory.setter
    def memory(self, _memory: Any) -> None:
        """It stays the one that is watched."""

    @property
    def ring(self) -> Ring:
        return self.rings[self.QUEUE]

    def again(self, features: int = 0, without: int = 0) -> None:
        """Reset and set up, with more features than usual, or fewer."""
        self.features = (self.base_features | features) & ~without
        self.start()

    def place(self, ring: Ring) -> int:
        ring.allow()
        return super().place(ring)

    def parts(self) -> list[tuple[int, int, int]]:
        """The buffers of a sound request, which is in memory now."""
        raise NotImplementedError

    def failed(self) -> bool:
        """Whether the last request was answered with an error."""
        return False

    def probe(self) -> None:
        """Requests of every kind, and their effect.  Raises AssertionError or OSError."""
        raise NotImplementedError

    def drain(self, wait_s: float = 0) -> None:
        """What was sent before goes, and what comes in the next `wait_s`."""
        while select.select([self.peer], [], [], wait_s)[0]:
            self.peer.recv(1 << 16)

    def settle(self) -> None:
        """Wait for requests in flight, but for those that wait for input."""
        for ring in self.rings:
            if not self.device.receives(ring.index):
                ring.settle(PATIENCE_S)


def until(found: Any, what: str) -> None:
    """Wait until found() is so; raises AssertionError."""
    deadline = monotonic() + PATIENCE_S
    while not found():
        assert monotonic() < deadline, f"no {what} after {PATIENCE_S} s"
        sleep(0.0002)


class Disk(Villain, BlkDriver):
    SECTORS = 256       # of the image
    PROBED = 200        # the sector that is written

    def parts(self) -> list[tuple[int, int, int]]:
        self.header(RequestType.IN, 1)
        return [(self.HEADER, 16, 0), (self.DATA, SECTOR, WRITE), (self.STATUS, 1, WRITE)]

    def failed(self) -> bool:
        return self.status() not in (0, 0xff)

    def probe(self) -> None:
        assert self.read(3, 1) == (3).to_bytes(8, "little") * 64
        self.write(self.PROBED, self.PROBED.to_bytes(8, "little") * 64)


class OtherDisk(Disk):
    RINGS, HEADER, STATUS, DATA = 0x60000, 0xe0000, 0xe0100, 0xe1000


class Card(Villain, NetDriver):
    RINGS, SEND, COMMAND, RECEIVE = 0x20000, 0xb0000, 0xb8000, 0x100000
    FEATURES = INDIRECT_DESC | MAC | STATUS | CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_MAC_ADDR | MQ
    QUEUE = 1
    FRAME = b"\xff" * 6 + MAC_ADDRESS + b"\x08\x00" + b"hello".ljust(46, b".")
    PACKET = bytes(HEADER_BYTES) + FRAME

    def parts(self) -> list[tuple[int, int, int]]:
        self.memory.write(self.SEND, self.PACKET)
        return [(self.SEND, len(self.PACKET), 0)]

    def probe(self) -> None:
        self.drain()
        self.send(self.FRAME)
        assert self.peer.recv(2048) == self.PACKET
        self.ring.take()
        self.post(1)
        self.peer.send(self.PACKET)
        assert self.received(1)[0][HEADER_BYTES:] == self.FRAME


class Port(Villain):
    RINGS, INPUT, OUTPUT = 0x40000, 0xc0000, 0xc8000
    QUEUE = TRANSMIT
    EMERGENCY_WRITE = layout_block(ConsoleConfig).field("emerg_wr").offset
    TEXT = b"hello".ljust(64, b".")

    def parts(self) -> list[tuple[int, int, int]]:
        self.memory.write(self.OUTPUT, self.TEXT)
        return [(self.OUTPUT, len(self.TEXT), 0)]

    def probe(self) -> None:
        self.drain()
        self.ring.request(self.parts())
        self.ring.ring()
        self.ring.take()
        assert self.peer.recv(2048) == self.TEXT
        waiting = self.rings[RECEIVE]
        waiting.request([(self.INPUT, 64, WRITE)])
        self.registers.write("queue_notify", RECEIVE)
        self.peer.send(b"typed")
        until(waiting.take, "input")
        assert self.memory.read(self.INPUT, 5) == b"typed"


class Dice(Villain):
    """Of the entropy device."""

    RINGS, DATA = 0x50000, 0xd0000

    def parts(self) -> list[tuple[int, int, int]]:
        return [(self.DATA, 64, WRITE)]

    def probe(self) -> None:
        self.memory.write(self.DATA, bytes(64))
        self.ring.request(self.parts())
        self.ring.ring()
        assert self.ring.take() == [(0, 64)] and self.memory.read(self.DATA, 64) != bytes(64)
