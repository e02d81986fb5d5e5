"""A guest whose requests are in flight for a while: through an io_uring, or in a network that has to take them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import sleep
from typing import Any

from ..devmodel.layout import PAGE
from ..devmodel.virtqueue import queue_layout
from ..machine.machine import Machine
from ..virtio.virtio_device import RING_PACKED, VirtioDevice
from .driver import RINGS
from .guest import Area
from .virtio_guest import FREE, VirtioGuest

PARTS = 5               # descriptors of a slot: the first is 5 times the slot's number, and a packed ring's buffer ID
RINGS_BYTES = 0x4000    # of each queue: descriptors, avail ring, used ring, a page each


class InFlightGuest(VirtioGuest):
    """Requests of one doorbell may be used in any order (VIRTIO 1.2, 2.7.1), so used entries are compared as those of
    the whole step, sorted.  When the device asks for doorbells is its own affair, and how far a receive queue's buffers
    are taken on before there is something for them."""

    patience_s = 3.0

    def __init__(self, machine: Machine, device: VirtioDevice):
        self._used: list[list[tuple[int, int]]] = [[] for _ in device.queue_sizes]
        self.waiting: list[dict[int, tuple]] = [{} for _ in device.queue_sizes]     # of each queue: head -> its chain
        self.posted: set[int] = set()       # heads of receive buffers that nothing has come into, and were rung for
        super().__init__(machine, device)

    def begin(self) -> None:
        self._take_used()
        for used in self._used:
            used.clear()

    def setup(self, features: int, size: int, ready: bool = True) -> None:
        super().setup(features, size, ready)
        for used, waiting in zip(self._used, self.waiting):
            used.clear()
            waiting.clear()
        self.posted.clear()

    def reset(self) -> None:
        super().reset()
        self.posted.clear()

    def chain(self, queue: int, head: int, parts: list, indirect: bool = False, split_at: int = 0, odd: int = 0,
              beyond: str = "") -> None:
        """It is made available when the queue is rung, and not before: a device may look by itself."""
        self.waiting[queue][head] = parts, indirect, split_at, odd, beyond

    def table(self, queue: int, head: int) -> int:
        return super().table(queue, head) + 0x80 * (head % 32)      # of its own

    def make_available(self, queue: int) -> None:
        for head, chain in self.waiting[queue].items():
            super().chain(queue, head, *chain)
        if self.device.receives(queue):
            self.posted |= self.waiting[queue].keys()
        self.waiting[queue].clear()

    def alone(self, queue: int, head: int, parts: list, **table: Any) -> None:
        """A chain as of `chain`, whatever its buffers are: the doorbell is its own."""
        if not self.waiting[queue]:
            self.chain(queue, head, parts, **table)
            self.ring(queue)

    def wait(self, ms: int) -> None:
        """Time passes: a polling thread falls asleep."""
        sleep(ms / 1000)

    def _take_used(self) -> None:
        for used, ring in zip(self._used, self.driver.rings if self.driver else []):
            found = ring.take()
            used += found
            for head, written in found:
                self.took(ring.index, head, written)
                if self.device.receives(ring.index):
                    self.posted.discard(head)

    def took(self, queue: int, head: int, written: int) -> None:
        """The driver has found a used entry."""

    def settle(self) -> None:
        for ring in self.driver.rings if self.driver else []:
            if not self.device.receives(ring.index):        # what is in flight there waits for input
                ring.settle()

    def seen(self) -> dict[str, Any]:
        self._take_used()
        return super().seen()

    def values(self) -> dict[str, Any]:
        found = super().values()
        for i, used in enumerate(self._used):
            if not self.device.receives(i):
                found[f"queue {i} used"] = sorted(used)
        return found

    def _parts_of(self, memory: Area) -> Iterator[Area]:
        packed = self.device.offered & RING_PACKED      # descriptors are then where used entries come
        for i in range(len(self.device.queue_sizes)):
            if self.device.receives(i):     # each executor's driver knows which of its buffers are free
                continue
            base = RINGS + RINGS_BYTES * i
            at, size = (base + PAGE, PAGE) if packed else (base, 2 * PAGE)
            yield Area("rings", memory.address + at, size, partial(self._tell_behind, at))
        yield Area("memory", memory.address + FREE, memory.size - FREE, lambda at: memory.tell(at + FREE))

    def _tell_behind(self, base: int, at: int) -> str:
        return self.tell_memory(base + at)

    def _positions(self) -> Iterator[Area]:
        for i, area in enumerate(super()._positions()):
            if self.device.receives(i):
                offset = queue_layout().field("position").block.field("next_used").offset
                yield Area(area.name, area.address + offset, 2, lambda at: "next_used")
            else:
                yield area
