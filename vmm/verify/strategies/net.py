"""What a driver of virtio-net does, and the network (VIRTIO 1.2, 5.1.6): a pair of queues."""

from __future__ import annotations

import random
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...devices.net_backend import Socket
from ...devmodel.devices.net import HEADER_BYTES
from ...machine.config import MachineConfig, NicConfig
from ...machine.machine import Machine
from ..guest import Guest
from ..in_flight import InFlightStrategy
from ..in_flight_guest import PARTS
from ..source import Source
from ..steps import Step, step
from ..virtio_guest import VirtioGuest
from ..wired_guest import WiredGuest

MAC = bytes.fromhex("020000000001")
RECEIVE, TRANSMIT, COMMANDS = 0, 1, 2
BUFFERS, PACKETS = 0x190000, 0x1b0000   # guest-physical: 4 KiB a slot
ROOM = 1600                             # bytes of a receive buffer: any packet fits


def frame(to: str, length: int, seed: int) -> bytes:
    """An Ethernet frame of `length` bytes."""
    address = {"us": MAC, "all": b"\xff" * 6, "other": bytes.fromhex("02000000ffff")}[to]
    return (address + MAC + b"\x08\x00" + random.Random(seed).randbytes(max(0, length - 14)))[:length]


class NetGuest(WiredGuest):
    """The network is at the other end."""

    BUFFERS = BUFFERS

    def __init__(self, machine: Machine, device: Any, peer: socket.socket):
        self._sent: list[str] = []
        self._received: list[str] = []
        super().__init__(machine, device, peer)

    # steps

    def packet(self, queue: int, slot: int, to: str, length: int, seed: int, cuts: list,
               indirect: bool = False) -> None:
        """Make a packet available, cut at these places; `length` is without the header."""
        at, data = PACKETS + 0x1000 * slot, bytes(HEADER_BYTES) + frame(to, length, seed)
        self.machine.memory.write(at, data)
        places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
        self.chain(queue, PARTS * slot, [[at + start, end - start, 0] for start, end in pairwise(places)], indirect)

    def arrives(self, to: str, length: int, seed: int) -> None:
        """A packet comes from the network."""
        self.send(bytes(HEADER_BYTES) + frame(to, length, seed))

    # what is seen

    def begin(self) -> None:
        super().begin()
        self._sent.clear()
        self._received.clear()

    def got(self, data: bytes) -> None:
        self._received.append(data.hex())

    def values(self) -> dict[str, Any]:
        found = super().values()
        self._sent += (data.hex() for data in self.sent())
        dropped = self.device.state.dropped
        return found | {"sent": sorted(self._sent), "received": sorted(self._received)} | {
            f"dropped, {name}": getattr(dropped, name) for name in ("spoofed", "limited", "link_down", "failed")}


class NetStrategy(InFlightStrategy):
    guest = NetGuest
    free = InFlightStrategy.free | {
        "memory": "buffers: which of them is filled is any that is there; what comes out of them is compared"}

    def __init__(self) -> None:
        super().__init__()
        self._peers: dict[int, socket.socket] = {}

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        backend = Socket(connected=[ours])
        self._peers[id(backend)] = peer
        return MachineConfig(**self._common(), nets=[NicConfig(
            backend=backend, mac=MAC, anti_spoof=True, queue_size=32,
            **self._virtio(mode, setting) | {"asynchronous": "auto"})])

    def open(self, machine: Machine) -> Guest:
        return NetGuest(machine, machine.devices[0], self._peers.pop(id(machine.config.nets[0].backend)))

    def seldom(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        return step("hang_up") if source.chance(2) else super().seldom(source, guest, queue)

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        assert isinstance(guest, NetGuest)
        length = source.one((14, 60, 64, 200, 1000, 1514))
        if guest.posted and source.chance(30):
            return step("arrives", to=source.one(("us", "us", "all", "other")), length=length,
                        seed=source.whole(0, 255))
        slot = self.slot(source, guest, queue)
        if slot < 0:
            return step("ring", queue=queue)
        if queue == RECEIVE:
            return step("buffer", queue=queue, length=source.one((ROOM, ROOM, 2048, 4096)))
        if queue == COMMANDS:
            return step("ring", queue=TRANSMIT)
        cuts = source.one(([], [], [12], [12, 26], [5, 40]))
        return step("packet", queue=queue, slot=slot, to=source.one(("us", "all")),
                    length=source.one((0, 13, 1600)) if source.chance(4) else length, seed=source.whole(0, 255),
                    cuts=cuts, indirect=source.chance(25))
