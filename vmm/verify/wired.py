"""What guests of devices do that have a wire, and whoever is at its other end."""

from __future__ import annotations

from .in_flight import InFlightStrategy
from .source import Source
from .steps import Step, step
from .strategy import MEMORY
from .virtio_guest import VirtioGuest
from .wired_guest import WiredGuest


class WiredStrategy(InFlightStrategy):
    """As InFlightStrategy, but that something comes from the other end, until that hangs up."""

    guest: type[WiredGuest]
    elsewhere: int              # guest-physical; where nothing else is
    free = InFlightStrategy.free | {
        "memory": "buffers: which of them is filled is any that is there; what comes out of them is compared"}

    def seldom(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        return step("hang_up") if source.chance(1) else super().seldom(source, guest, queue)

    def comes(self, source: Source, guest: WiredGuest) -> bool:
        """Whether it is the other end's turn: a device that takes nothing is not sent anything."""
        return bool(guest.posted) and not self.stuck(guest) and source.chance(30)

    def address(self, source: Source) -> int:
        """Of a buffer of a chain that breaks rules: not where receive buffers are, whose order is any."""
        return source.one((self.elsewhere, self.elsewhere + 0x1234, MEMORY - 512, MEMORY - 1, MEMORY, 1 << 32,
                           (1 << 64) - 16))
