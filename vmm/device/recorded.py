"""What the Python half of a device does, recorded.  Nothing of this is in the way of a device that is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from typing import Any

from ..devmodel.recording import NO_QUEUE, EventKind
from ..devmodel.view import View
from ..sync.event_ring import EventRing
from ..sync.ownership import Lock, Ownership

MOST_OFFSET = 0xffff    # of a register, as events have it
WRITE, READ, VISIT, INTERRUPT, TAKE, GIVE = map(int, (
    EventKind.WRITE, EventKind.READ, EventKind.VISIT, EventKind.INTERRUPT, EventKind.TAKE, EventKind.GIVE))


class RecordedOwnership(Ownership):
    """An Ownership that tells of each hand-over: `record(kind, value=generation)`."""

    __slots__ = ("_record",)

    def __init__(self, record: Callable[..., None], name: str, word: View, entry: View,
                 lock: Lock | None = None):
        super().__init__(name, word, entry, lock)
        self._record = record

    def take(self, timeout_s: float | None = None) -> None:
        super().take(timeout_s)
        self._record(TAKE, value=self._generation[0])

    def give(self) -> None:
        if self.held_by_user():     # told before: a handler may be inside at once
            self._record(GIVE, value=self._generation[0] + 1 & 0xffffffff)
        super().give()


class Recorder:
    """Puts what one device's Python half does into the ring."""

    def __init__(self, ring: EventRing, slot: int):
        self._ring, self._slot = ring, slot

    def __call__(self, kind: int, queue: int = NO_QUEUE, value: int = 0, began_ns: int = 0) -> None:
        self._ring.record(kind, self._slot, queue, value, 0, 0, began_ns)

    def ownership(self, *given: Any, queue: int = NO_QUEUE) -> Ownership:
        """Of a queue, or of the device."""
        return RecordedOwnership(partial(self, queue=queue), *given)

    def watch(self, device: Any) -> None:
        """Record a guest's accesses of an attached device, and interrupts of each of its lines."""
        device.read, device.write = self._reader(device), self._writer(device)
        lines = device.place.lines
        for number, line in enumerate(lines):
            line.pulse = self._pulser(line.pulse, number if number < len(lines) - 1 else NO_QUEUE)

    def _reader(self, device: Any) -> Callable[[int, int], int]:
        record, slot, read = self._ring.record, self._slot, device.read
        end = min(device.registers.register_bytes, MOST_OFFSET + 1)

        def recorded(offset: int, width: int) -> int:
            value = read(offset, width)
            if offset < end:
                record(READ, slot, NO_QUEUE, value, offset, width)
            return value
        return recorded

    def _writer(self, device: Any) -> Callable[[int, int, int], None]:
        """How long a write takes is told of devices without queues: of the others, how long a queue does."""
        record, slot, write = self._ring.record, self._slot, device.write
        end = min(device.registers.register_bytes, MOST_OFFSET + 1)

        def recorded(offset: int, width: int, value: int) -> None:
            if offset >= end:
                write(offset, width, value)
                return
            record(WRITE, slot, NO_QUEUE, value, offset, width)
            began = monotonic_ns()
            write(offset, width, value)
            if not device.queue_count:
                record(VISIT, slot, NO_QUEUE, 1, offset, width, began)
        return recorded

    def _pulser(self, pulse: Callable[[], None], queue: int) -> Callable[[], None]:
        def recorded() -> None:
            self(INTERRUPT, queue)
            pulse()
        return recorded
