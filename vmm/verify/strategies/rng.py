"""What a driver of virtio-rng asks for (VIRTIO 1.2, 5.4.6): bytes, of which can be compared how many there are, and
that they are new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...machine.config import MachineConfig, RngConfig
from ...testing.driver import WRITE
from ..source import Source
from ..steps import Step, step
from ..strategy import VirtioStrategy
from ..virtio_guest import VirtioGuest

BUFFERS, SLOTS, STRIDE = 0x190000, 8, 0x4000    # guest-physical
BLOCK = 16      # bytes of which two are never the same


class RngGuest(VirtioGuest):
    """No bytes are given twice, by whichever half."""

    def __init__(self, *given: Any):
        self._first = [bytes(BLOCK)] * SLOTS        # of each buffer, when it was last looked at
        self._seen: set[bytes] = set()
        self._repeated = 0
        super().__init__(*given)

    def values(self) -> dict[str, Any]:
        for slot in range(SLOTS):
            block = self.machine.memory.read(BUFFERS + STRIDE * slot, BLOCK)
            new = sum(is_ != was for is_, was in zip(block, self._first[slot]))
            self._first[slot] = block
            if new > BLOCK // 2:        # all of it, and not a byte or eight, which may come again
                self._repeated += block in self._seen
                self._seen.add(block)
        return super().values() | {"repeated": self._repeated}


class RngStrategy(VirtioStrategy):
    guest = RngGuest
    free = {"memory": "buffers, as what is read is random; that none is given twice, and rings, are compared",
            "state.pool": "random bytes that are kept for the handler"}
    choices = {"used length": "how much of a buffer is filled, which the device may choose (5.4.6.1)"}

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        return MachineConfig(**self._common(), rng=RngConfig(**self._virtio(mode, setting)))

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        slot = source.whole(0, SLOTS - 1)
        parts = [[BUFFERS + STRIDE * slot, source.one((1, 8, 16, 64, 256, 4096, 8192, 65536)), WRITE]
                 for _ in range(source.one((1, 1, 1, 1, 2)))]
        return step("chain", queue=queue, head=slot, parts=parts, indirect=source.chance(25))
