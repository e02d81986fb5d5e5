"""A recording summed up: counts, where time went, and how long requests took."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from ..devmodel.exit_path import Half
from ..devmodel.recording import EventKind
from .flights import Done, Flights, Key
from .reader import Gap, Happened

PERCENTILES = (50, 90, 99, 99.9, 100)


@dataclass
class Times:
    """Of a queue, or of a device without queues; `requests` are those that are done."""

    requests: int = 0
    handler_ns: int = 0
    python_ns: int = 0
    flight_ns: int = 0      # of all requests together, which may be in flight at once
    from_doorbell_ns: array = field(default_factory=lambda: array("Q"))     # of each request
    in_flight_ns: array = field(default_factory=lambda: array("Q"))         # of each that was

    def add(self, done: Done) -> None:
        self.requests += done.requests
        if done.from_doorbell_ns is not None:
            self.from_doorbell_ns.extend([done.from_doorbell_ns] * min(done.requests, MOST_AT_ONCE))
        if done.in_flight_ns is not None:
            self.flight_ns += done.in_flight_ns
            self.in_flight_ns.append(done.in_flight_ns)


MOST_AT_ONCE = 1 << 16      # requests of one visit: no queue has more


@dataclass
class Summary:
    """Counts are of (device, kind), declines of a device; the Counters are by half, and by reason."""

    counts: dict[tuple[str, str], Counter] = field(default_factory=lambda: defaultdict(Counter))
    declines: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    times: dict[Key, Times] = field(default_factory=lambda: defaultdict(Times))
    first_ns: int | None = None
    last_ns: int = 0
    dropped: int = 0


def summed_up(events: Iterable[Happened | Gap]) -> Summary:
    """All that `events` come to."""
    found, flights = Summary(), Flights()
    for event in events:
        if isinstance(event, Gap):
            found.dropped += event.dropped
            continue
        found.first_ns = event.time_ns if found.first_ns is None else found.first_ns
        found.last_ns = event.time_ns
        found.counts[event.device.name, event.kind.name.lower()][event.half.name.lower()] += 1
        if event.kind is EventKind.DECLINE:
            found.declines[event.device.name][event.reason or "behind another"] += 1
        if event.kind in (EventKind.VISIT, EventKind.COLLECT):
            _add_visit(found.times[event.device.name, event.queue], event)
        if done := flights.take(event):
            found.times[done.key].add(done)
    return found


def _add_visit(times: Times, event: Happened) -> None:
    if event.half is Half.PYTHON:
        times.python_ns += event.took_ns
    else:
        times.handler_ns += event.took_ns


def percentiles(values: array) -> dict[float, int]:
    """Of some values, by the nearest rank."""
    ordered = sorted(values)
    return {p: ordered[max(0, ceil(len(ordered) * p / 100) - 1)] for p in PERCENTILES} if ordered else {}


def histogram(values: array) -> list[tuple[int, int, int]]:
    """(from, below, how many), each from a power of two to the next, without a hole."""
    counts = Counter(value.bit_length() for value in values)
    return [(1 << bits >> 1, 1 << bits, counts[bits]) for bits in range(min(counts), max(counts) + 1)] if counts else []


def as_json(summary: Summary) -> dict:
    """As plain data; times in ns."""
    return {
        "from_ns": summary.first_ns or 0, "to_ns": summary.last_ns, "dropped": summary.dropped,
        "counts": [{"device": device, "kind": kind, **counts} for (device, kind), counts in summary.counts.items()],
        "declines": {device: dict(counts) for device, counts in summary.declines.items()},
        "queues": [{"device": device, "queue": queue, "requests": times.requests, "handler_ns": times.handler_ns,
                    "python_ns": times.python_ns, "flight_ns": times.flight_ns,
                    "from_doorbell_ns": _latencies(times.from_doorbell_ns),
                    "in_flight_ns": _latencies(times.in_flight_ns)}
                   for (device, queue), times in summary.times.items()]}


def _latencies(values: array) -> dict:
    return {"requests": len(values), "percentiles": {f"{p:g}": ns for p, ns in percentiles(values).items()},
            "histogram": [list(bucket) for bucket in histogram(values)]}
