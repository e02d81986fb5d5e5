"""What guests of devices do whose requests are in flight for a while."""

from __future__ import annotations

from typing import Any

from .in_flight_guest import PARTS, InFlightGuest
from .source import Source
from .steps import Step, step
from .strategy import VirtioStrategy
from .virtio_guest import VirtioGuest

AT_ONCE = 6     # requests of one doorbell, at most: what a UNIX socket takes without waiting, and slots there are


class InFlightStrategy(VirtioStrategy):
    """As VirtioStrategy, but for what makes requests of one doorbell depend on each other, as the order in which those
    are done is nobody's to rely on: each is in a slot of its own, with buffers of its own."""

    guest: type[VirtioGuest] = InFlightGuest
    sizes = (32, 32, 16)
    free = {"the order of used entries": "of one doorbell's requests (VIRTIO 1.2, 2.7.1)",
            "asking for doorbells": "is suppressed while requests are in flight"}

    def next(self, source: Source, guest: Any) -> Step:
        if not (guest.driver and guest.driver.rings) or (self.stuck(guest) and source.chance(90)):
            return self.setup(source, guest)
        queue = source.whole(0, len(guest.device.queue_sizes) - 1)
        kind = source.whole(0, 99)
        if kind < 55 and len(guest.waiting[queue]) < AT_ONCE:
            return self.request(source, guest, queue)
        return step("ring", queue=queue) if kind < 90 else self.seldom(source, guest, queue)

    def seldom(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        kind = source.whole(0, 10)
        if kind == 10:
            return self.vector(source, queue)
        if kind < 4:
            return step("wish", queue=queue, interrupts=source.chance(60), event=self.event(source, guest, queue))
        if kind == 4:
            return step("switch")
        if kind == 5:
            return step("take", queue=queue)
        if kind == 6:
            return self.setup(source, guest)
        if kind == 7 and not guest.device.receives(queue):
            wild = self.wild(source, guest, queue).given
            return step("alone", **{**wild, "head": wild["head"] // PARTS * PARTS})
        if kind == 8 and source.chance(20):
            return step("wait", ms=3)
        return step(source.one(("acknowledge", "reset", "ready")))

    def slot(self, source: Source, guest: InFlightGuest, queue: int) -> int:
        """One that no request in flight, or of this doorbell, is in; -1 if there is none."""
        taken = guest.waiting[queue].keys() | (guest.posted if guest.device.receives(queue) else set())
        return source.one([slot for slot in range(guest.driver.size // PARTS) if slot * PARTS not in taken] or [-1])
