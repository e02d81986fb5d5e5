"""A guest of a virtio device: a driver with all its queues, able to do what no driver would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..devmodel.virtqueue import queue_layout
from ..machine.machine import Machine
from ..testing.driver import INDIRECT, NEXT, Driver, PackedRing
from ..virtio.virtio_device import EVENT_IDX, NEEDS_RESET, VirtioDevice
from .driver import VectoredDriver
from .guest import Area, Guest, field_at

FREE = 0x130000                 # guest-physical, behind the rings
CAUSE = "interrupt_status"      # as virtio-mmio calls it


class VirtioGuest(Guest):
    """Of a virtio device: a driver with all its queues, able to do what no driver would."""

    device: Any                 # a VirtioDevice
    driver: Any                 # None before the first setup
    DRIVER: type[Driver] = VectoredDriver
    TABLES = 0x160000           # guest-physical; indirect tables, 4 KiB for each queue

    def __init__(self, machine: Machine, device: VirtioDevice):
        self.driver = None
        self._broken = False
        super().__init__(machine, device)
        self.spurious = True        # each doorbell's claim interrupts; VIRTIO 1.2, 2.7.7.1: a driver expects it

    @property
    def broken(self) -> bool:
        """Whether a driver of before has ever broken a rule."""
        self._broken |= bool(self.device.page.status & NEEDS_RESET)
        return self._broken

    # steps

    def setup(self, features: int, size: int, ready: bool = True) -> None:
        """Reset, negotiate, set up all queues."""
        if self.driver is None:
            self.driver = self.DRIVER(self.machine, self.device)
        self.driver.features, self.driver.size = features & self.device.offered, size
        with suppress(AssertionError):      # features that the device refuses
            self.driver.start(ready)
        self.settle()

    def ready(self) -> None:
        self.driver.make_ready()

    def reset(self) -> None:
        self.registers.write("status", 0)

    def chain(self, queue: int, head: int, parts: list, indirect: bool = False, split_at: int = 0, odd: int = 0,
              beyond: str = "") -> None:
        """Make buffers available: each a list of address, bytes, and flags (1 next, 2 device-writable, 4 indirect).
        `head` is the first descriptor, or a packed ring's buffer ID.  With `indirect` they are in a table, but for the
        first `split_at`; it is said to be `odd` bytes longer than it is, or shorter; its `first` or `last` descriptor,
        which `beyond` says, goes on behind it."""
        ring = self.driver.rings[queue]
        parts = [tuple(part) for part in parts]
        if indirect:
            table, inside = self.table(queue, head), parts[split_at:]
            self._table(ring, [*inside, *inside[-1:]], table)       # there is one more than is told
            if inside and not isinstance(ring, PackedRing):
                self._end(ring, inside, table, beyond)
            parts = [*parts[:split_at], (table, max(16 * len(inside) + odd, 0), INDIRECT)]
        if isinstance(ring, PackedRing):
            ring.request(parts[:ring.size], head)
            return
        places = [(head + i) % ring.size for i in range(len(parts))]
        for i, (address, length, flags) in enumerate(parts[:ring.size]):
            last = i == len(parts) - 1
            ring.put(places[i], address, length, flags | (0 if last else NEXT), 0 if last else places[i + 1])
        ring.offer(head)

    def table(self, queue: int, head: int) -> int:
        """Where the indirect table of a chain is: guest-physical."""
        return self.TABLES + 0x1000 * queue

    @staticmethod
    def _table(ring: Any, parts: list[tuple[int, int, int]], table: int) -> None:
        if isinstance(ring, PackedRing):
            for i, (address, length, flags) in enumerate(parts):
                ring.put(i, address, length, flags, 0, table)
        else:
            ring.chain(parts, 0, table)

    @staticmethod
    def _end(ring: Any, parts: list[tuple[int, int, int]], table: int, beyond: str) -> None:
        if beyond != "last":
            ring.put(len(parts) - 1, *parts[-1], 0, table)
        if beyond == "first":
            address, length, flags = parts[0]
            ring.put(0, address, length, flags | NEXT, len(parts), table)

    def descriptor(self, queue: int, index: int, address: int, length: int, flags: int, following: int) -> None:
        """Write one descriptor, whatever is there."""
        ring = self.driver.rings[queue]
        ring.put(index % ring.size, address, length, flags, following)

    def offer(self, queue: int, head: int) -> None:
        """Make a chain available that may be none: of a split ring."""
        ring = self.driver.rings[queue]
        if not isinstance(ring, PackedRing):
            ring.offer(head)

    def avail_index(self, queue: int, ahead: int) -> None:
        """Claim that so many more are available: of a split ring."""
        ring = self.driver.rings[queue]
        if not isinstance(ring, PackedRing):
            ring.offered = ring.offered + ahead & 0xffff
            ring.publish()

    def make_available(self, queue: int) -> None:
        """What waits for the doorbell."""

    def ring(self, queue: int) -> None:
        self.make_available(queue)
        self.registers.write("queue_notify", queue)

    def wish(self, queue: int, interrupts: bool, event: int) -> None:
        """What the driver wants interrupts for: all, none, or the event index."""
        ring = self.driver.rings[queue]
        if isinstance(ring, PackedRing):
            ring.set_event(ring.AT_DESCRIPTOR if self.driver.features & EVENT_IDX and interrupts else
                           ring.ENABLE if interrupts else ring.DISABLE, event % ring.size, bool(event & 0x8000))
        else:
            ring.set_no_interrupt(not interrupts)
            ring.set_used_event(event & 0xffff)

    def mask(self, queue: int, masked: bool) -> None:
        """Over PCI: the queue's vector is masked, or open again."""
        self.driver.mask(queue, masked)
        self.settle()

    def unset(self, queue: int) -> None:
        """Over PCI: the queue's vector is taken away; set-up gives it back."""
        self.driver.unset(queue)

    def acknowledge(self) -> None:
        """Clear the cause, as an interrupt handler does."""
        if CAUSE in self.device.registers.registers:
            self.registers.write("interrupt_ack", 3)

    def take(self, queue: int = 0) -> None:
        """Userspace takes a queue over, and gives it back."""
        with self.device.lock:
            self.device._serve(self.device.queues[queue % len(self.device.queues)])
        self.settle()

    def switch(self) -> None:
        """Offload off, and on again.  Either has somebody look at each queue."""
        super().switch()
        if self.mode == "off":
            for queue in range(len(self.device.queues)):
                self.take(queue)
        self.settle()

    # what is seen

    @property
    def cause(self) -> int:
        return self.device.page.interrupt_status if CAUSE in self.device.registers.registers else 0

    def _areas(self) -> Iterator[Area]:
        for area in super()._areas():
            yield from self._without_cause(area) if area.name == "page" else \
                self._parts_of(area) if area.name == "memory" else [area]
        yield from self._positions()

    def _positions(self) -> Iterator[Area]:
        """Where the holder stands, of each queue."""
        state = self.device.place.state
        queue, = (block for block in self.device.layout.state.fields if block.name == "queue")
        position, = (block for block in queue_layout().fields if block.name == "position")
        for i in range(len(self.device.queue_sizes)):
            yield Area(f"queue {i} position", state + queue.offset + i * queue.type.size + position.offset,
                       position.block.field("shown_flags").offset,      # what is there counts within a visit alone
                       field_at(position.block))

    def _parts_of(self, memory: Area) -> Iterator[Area]:
        """What is the driver's and the device's own, and buffers."""
        yield Area("rings", memory.address, FREE, memory.tell)
        yield Area("memory", memory.address + FREE, memory.size - FREE, lambda at: memory.tell(at + FREE))

    def _without_cause(self, page: Area) -> Iterator[Area]:
        """It may have more in it than with `off`, and is looked at by itself."""
        register = self.device.registers.registers.get(CAUSE)
        if register is None:
            yield page
            return
        end = register.offset + register.type.size
        yield Area("page", page.address, register.offset, page.tell)
        yield Area("page", page.address + end, page.size - end, lambda at: page.tell(at + end))

    def tell_memory(self, at: int) -> str:
        for ring in self.driver.rings if self.driver else []:
            for name in ("used", "avail", "desc"):
                if 0 <= at - getattr(ring, name) < 0x1000:
                    return f"queue {ring.index} {name} + {at - getattr(ring, name):#x}"
        return super().tell_memory(at)

    def values(self) -> dict[str, Any]:
        found = self.seen()
        for i, state in enumerate(self._queues()):
            found |= {f"queue {i} {name}": count for name, count in self._done(state).items()}
            if self.broken:     # what was moved before the break, Python has not counted
                del found[f"queue {i} bytes"]
        return found

    def seen(self) -> dict[str, Any]:
        """What a driver of any such device, and whoever is at the other end of its wire, have seen in this step."""
        return {}

    def _queues(self) -> list:
        return [self.device.state.queue[i] for i in range(len(self.device.queue_sizes))]

    def settle(self) -> None:
        for ring in self.driver.rings if self.driver else []:
            ring.settle()
