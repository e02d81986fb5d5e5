"""What a driver of virtio-console does, and whoever is at the other end of the port (VIRTIO 1.2, 5.3.6)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from ...devmodel.devices.console import RECEIVE
from ...machine.config import ConsoleConfig, MachineConfig
from ...machine.machine import Machine
from ..in_flight_guest import PARTS
from ..source import Source
from ..steps import Step, step
from ..virtio_guest import VirtioGuest
from ..wired import WiredStrategy
from ..wired_guest import WiredGuest

INPUT, OUTPUT = 0x190000, 0x1a0000       # guest-physical: 4 KiB a slot
SHORTEST = 64                           # bytes of a receive buffer: one takes what is typed at once


class ConsoleGuest(WiredGuest):
    """What is written and what is typed are streams."""

    BUFFERS = INPUT

    def __init__(self, machine: Machine, device: Any, peer: socket.socket):
        self._output, self._input = b"", b""
        super().__init__(machine, device, peer)

    # steps

    def write_out(self, queue: int, slot: int, texts: list) -> None:
        """Output, a buffer for each text."""
        parts = []
        for i, text in enumerate(texts):
            at = OUTPUT + 0x1000 * slot + 0x400 * i
            self.machine.memory.write(at, text.encode())
            parts.append([at, len(text), 0])
        self.chain(queue, PARTS * slot, parts)

    def typed(self, text: str) -> None:
        """Somebody types at the other end."""
        self.send(text.encode())

    # what is seen

    def begin(self) -> None:
        super().begin()
        self._output, self._input = b"", b""

    def got(self, data: bytes) -> None:
        self._input += data

    def seen(self) -> dict[str, Any]:
        found = super().seen()
        self._output += b"".join(self.sent())
        return found | {"output": self._output, "input": self._input}


class ConsoleStrategy(WiredStrategy):
    guest = ConsoleGuest
    elsewhere = 0x1c0000
    free = WiredStrategy.free | {
        "state.stream": "whether the other end is known to be gone, which whoever reads finds out"}

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[str, socket.socket] = {}

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        where = str(folder / "port")
        self._listeners[where] = socket.socket(socket.AF_UNIX)
        self._listeners[where].bind(where)
        self._listeners[where].listen()
        return MachineConfig(**self._common(), consoles=[
            ConsoleConfig(f"socket={where}", **self._virtio(mode, setting) | {"asynchronous": "auto"})])

    def ends(self, config: MachineConfig) -> tuple[socket.socket]:
        with self._listeners.pop(config.consoles[0].where.removeprefix("socket=")) as listener:
            return listener.accept()[0],

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        assert isinstance(guest, ConsoleGuest)
        if self.comes(source, guest):
            return step("typed", text="".join(source.one("abcdefgh") for _ in range(source.whole(1, SHORTEST))))
        slot = self.slot(source, guest, queue)
        if slot < 0:
            return step("ring", queue=queue)
        if queue == RECEIVE:
            return step("buffer", queue=queue, length=source.one((SHORTEST, 100, 1024, 4096)))
        texts = ["".join(source.one("ijklmnop") for _ in range(source.one((1, 7, 80, 700))))
                 for _ in range(source.one((1, 1, 2, 3)))]
        return step("write_out", queue=queue, slot=slot, texts=texts)
