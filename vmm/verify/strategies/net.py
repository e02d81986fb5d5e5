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
from ...testing.driver import WRITE
from ..in_flight_guest import PARTS
from ..source import Source
from ..steps import Step, step
from ..strategy import MEMORY
from ..virtio_guest import VirtioGuest
from ..wired import WiredStrategy
from ..wired_guest import WiredGuest

MAC = bytes.fromhex("020000000001")
RECEIVE, TRANSMIT, COMMANDS = 0, 1, 2
BUFFERS, PACKETS = 0x190000, 0x1b0000   # guest-physical: 4 KiB a slot
ANSWER = 0x800                          # of a command, in its slot
COMMAND, ELSEWHERE = 0x1c0000, 0x1d0000 # a command's slots; where nothing else is
ROOM, SHORT = 1600, 300                 # bytes of a receive buffer: any packet fits; it may not
# (class, command, data) of 5.1.6.5 that leave all packets arriving, and such as are none: a filter may let more pass
# than it was told to (5.1.6.5.1), and the kernel half's does
SAID = ((0, 0, "01"), (0, 1, "00"), (0, 5, "01"), (0, 0, ""), (0, 9, "01"), (1, 1, "02000000aaaa"), (1, 1, "0200"),
        (1, 0, "0100000002000000bbbb00000000"), (1, 0, "01000000020000"), (1, 0, "ffffffff"), (1, 7, "00"),
        (2, 0, "0500"), (2, 1, "0500"), (2, 0, "ff1f"), (2, 0, "05"), (3, 0, ""), (3, 1, ""), (4, 0, "0100"),
        (5, 0, "00" * 8), (9, 9, "99"))


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
        self._answers: list[tuple[int, str]] = []       # by the chain's head
        super().__init__(machine, device, peer)
        for at, size in ((ELSEWHERE, 0x4000), (MEMORY - 512, 512)):     # as a command it is none: zeroes set a filter
            machine.memory.write(at, b"\xff" * size)

    # steps

    def packet(self, queue: int, slot: int, to: str, length: int, seed: int, cuts: list,
               indirect: bool = False, **table: Any) -> None:
        """Make a packet available, cut at these places; `length` is without the header."""
        at, data = PACKETS + 0x1000 * slot, bytes(HEADER_BYTES) + frame(to, length, seed)
        self.machine.memory.write(at, data)
        places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
        self.chain(queue, PARTS * slot, [[at + start, end - start, 0] for start, end in pairwise(places)], indirect,
                   **table)

    def arrives(self, to: str, length: int, seed: int) -> None:
        """A packet comes from the network."""
        self.send(bytes(HEADER_BYTES) + frame(to, length, seed))

    def command(self, queue: int, slot: int, class_: int, command: int, data: str, answer: int = 1) -> None:
        """What the driver says on the control queue: class, command and data; `answer` bytes for it."""
        at, said = COMMAND + 0x1000 * slot, bytes([class_, command]) + bytes.fromhex(data)
        self.machine.memory.write(at, said)
        self.machine.memory.write(at + ANSWER, b"\xff" * 4)
        self.chain(queue, PARTS * slot, [[at, 2, 0], *([[at + 2, len(said) - 2, 0]] if data else []),
                                         [at + ANSWER, answer, WRITE]])

    # what is seen

    def begin(self) -> None:
        super().begin()
        self._sent.clear()
        self._received.clear()
        self._answers.clear()

    def took(self, queue: int, head: int, written: int) -> None:
        super().took(queue, head, written)
        if queue == COMMANDS:
            at = COMMAND + 0x1000 * (head // PARTS) + ANSWER
            self._answers.append((head, self.machine.memory.read(at, 4).hex()))

    def got(self, data: bytes) -> None:
        self._received.append(data.hex())

    def seen(self) -> dict[str, Any]:
        found = super().seen()
        self._sent += (data.hex() for data in self.sent())
        received = sorted(self._received)
        return found | {"sent": sorted(self._sent), "received": [data[2 * HEADER_BYTES:] for data in received],
                        "received headers": [data[:2 * HEADER_BYTES] for data in received],
                        "answers": sorted(self._answers)}

    def values(self) -> dict[str, Any]:
        dropped = self.device.state.dropped
        return super().values() | {"address": bytes(self.device.config.mac).hex()} | {
            f"dropped, {name}": getattr(dropped, name) for name in ("spoofed", "limited", "link_down", "failed")}


class NetStrategy(WiredStrategy):
    guest = NetGuest
    elsewhere = ELSEWHERE

    def __init__(self) -> None:
        super().__init__()
        self._peers: dict[int, socket.socket] = {}

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        backend = Socket(connected=[ours])
        self._peers[id(backend)] = peer
        return MachineConfig(**self._common(), nets=[NicConfig(
            backend=backend, mac=MAC, queue_size=32,
            anti_spoof=setting.get("transport") != "pci",      # which has its own look at a packet's first bytes
            **self._virtio(mode, setting) | {"asynchronous": "auto"})])

    def ends(self, config: MachineConfig) -> tuple[socket.socket]:
        return self._peers.pop(id(config.nets[0].backend)),

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        assert isinstance(guest, NetGuest)
        length = source.one((14, 60, 64, 200, 1000, 1514))
        if self.comes(source, guest):
            return step("arrives", to=source.one(("us", "us", "all", "other")), length=length,
                        seed=source.whole(0, 255))
        slot = self.slot(source, guest, queue)
        if slot < 0:
            return step("ring", queue=queue)
        if queue == RECEIVE:
            return step("buffer", queue=queue,
                        length=source.one((ROOM, ROOM, 2048, 4096)) if source.chance(94) else SHORT)
        if queue == COMMANDS:
            class_, command, data = source.one(SAID)
            return step("command", queue=queue, slot=slot, class_=class_, command=command, data=data,
                        answer=source.one((1, 1, 1, 4)))
        cuts = source.one(([], [], [12], [12, 26], [5, 40]))
        return step("packet", queue=queue, slot=slot, to=source.one(("us", "all")),
                    length=source.one((0, 13, 1600)) if source.chance(4) else length, seed=source.whole(0, 255),
                    cuts=cuts, indirect=source.chance(25), **self.table(source))
