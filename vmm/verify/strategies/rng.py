"""What a driver of virtio-rng asks for (VIRTIO 1.2, 5.4.6): bytes, of which only how many there are can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...machine.config import MachineConfig, RngConfig
from ...testing.driver import WRITE
from ..source import Source
from ..steps import Step, step
from ..strategy import VirtioStrategy
from ..virtio_guest import VirtioGuest


class RngStrategy(VirtioStrategy):
    free = {"memory": "buffers, as what is read is random; rings are compared",
            "state.pool": "random bytes that are kept for the handler"}
    choices = {"used length": "how much of a buffer is filled, which the device may choose (5.4.6.1)"}

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        return MachineConfig(**self._common(), rng=RngConfig(**self._virtio(mode, setting)))

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        slot = source.whole(0, 7)
        parts = [[0x190000 + 0x4000 * slot, source.one((1, 8, 16, 64, 256, 4096, 8192, 65536)), WRITE]
                 for _ in range(source.one((1, 1, 1, 1, 2)))]
        return step("chain", queue=queue, head=slot, parts=parts, indirect=source.chance(25))
