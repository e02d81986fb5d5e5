"""How long requests take: from the doorbell, and while they are in flight."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ..devmodel.exit_path import Half
from ..devmodel.recording import EventKind
from .reader import Happened

Key = tuple[str, int | None]        # device and queue
ANSWERED = ("ring_asleep", "budget")    # of a queue: the doorbell is answered, and Python only has something to do


@dataclass
class _Queue:
    rung_ns: int | None = None      # the doorbell that has yet to be answered
    declined: bool = False          # it went up to Python, which writes it again
    collected: int = 0              # requests back whose visit has not ended
    flying: dict[int, tuple[int, int | None]] = field(default_factory=dict)     # request -> submitted, rung


@dataclass(frozen=True)
class Done:
    """So many requests of a queue are done, which was rung and submitted so long ago."""

    key: Key
    requests: int
    from_doorbell_ns: int | None
    in_flight_ns: int | None


class Flights:
    """Follows the events of a recording, in their order."""

    def __init__(self) -> None:
        self._queues: dict[Key, _Queue] = defaultdict(_Queue)

    def take(self, event: Happened) -> Done | None:
        """Requests that are done by this event, if any are."""
        key = event.device.name, event.queue
        queue = self._queues[key]
        if event.doorbell:
            if event.half is not Half.PYTHON or not queue.declined:
                queue.rung_ns = event.time_ns
            queue.declined = False
        elif event.kind is EventKind.DECLINE:
            queue.declined = event.reason not in ANSWERED
        elif event.kind is EventKind.SUBMIT:
            queue.flying[event.value] = event.time_ns, queue.rung_ns
        elif event.kind is EventKind.COMPLETE:
            return self._back(event, key, queue)
        elif event.kind in (EventKind.VISIT, EventKind.COLLECT):
            return self._left(event, key, queue)
        return None

    @staticmethod
    def _back(event: Happened, key: Key, queue: _Queue) -> Done | None:
        submitted, rung = queue.flying.pop(event.value, (None, None))
        if event.reason or submitted is None:       # Python does it again, or it was submitted before
            return None
        queue.collected += 1
        return Done(key, 1, None if rung is None else event.time_ns - rung, event.time_ns - submitted)

    @staticmethod
    def _left(event: Happened, key: Key, queue: _Queue) -> Done | None:
        at_once = event.value - queue.collected
        queue.collected = max(0, -at_once)      # those of another visit, which ends later
        rung = queue.rung_ns
        if not event.reason or event.reason in ANSWERED:
            queue.rung_ns = None
        if at_once <= 0:
            return None
        return Done(key, at_once, None if rung is None else event.time_ns - rung, None)
