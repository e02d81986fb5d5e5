"""A recording in the trace event format that Chrome (chrome://tracing) and Perfetto open: threads, the queues of each
device, and requests in flight as spans of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO

from ..devmodel.recording import EventKind
from .lines import said
from .reader import Gap, Happened

THREADS = 1         # the process that all threads are tracks of; a device is that of its slot, behind it
SPANS = (EventKind.VISIT, EventKind.COLLECT)
MARKS = (EventKind.DECLINE, EventKind.UPCALL, EventKind.INTERRUPT, EventKind.TAKE, EventKind.GIVE)
AS_A_WHOLE = 1000   # number of the track of what is of no queue


def write(events: Iterable[Happened | Gap], file: IO[str]) -> None:
    """One JSON object, an event a line."""
    file.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
    before = ""
    for each in _Tracks().of(events):
        file.write(before + json.dumps(each))
        before = ",\n"
    file.write("\n]}\n")


class _Tracks:
    """Names each process and track before anything is on it."""

    def __init__(self) -> None:
        self._named: set[tuple] = set()
        self._threads: dict[str, int] = {}

    def of(self, events: Iterable[Happened | Gap]) -> Iterator[dict]:
        for event in events:
            if isinstance(event, Gap):
                yield {"name": f"{event.dropped} events dropped", "ph": "i", "s": "g", "pid": THREADS, "tid": 0,
                       "ts": event.time_ns / 1000}
                continue
            yield from self._event(event)

    def _event(self, event: Happened) -> Iterator[dict]:
        thread, process = self._threads.setdefault(event.thread, len(self._threads)), THREADS + 1 + event.device.slot
        track = AS_A_WHOLE if event.queue is None else event.queue
        yield from self._names(THREADS, "threads", thread, event.thread)
        yield from self._names(process, event.device.name, track,
                               "device" if event.queue is None else f"queue {event.queue}")
        of_queue = {"pid": process, "tid": track, "ts": event.time_ns / 1000}
        if event.kind in SPANS:
            span = {"name": f"{event.kind.name.lower()} ({event.half.name.lower()})", "ph": "X",
                    "ts": (event.time_ns - event.took_ns) / 1000, "dur": event.took_ns / 1000,
                    "args": {"said": said(event)}}
            yield {**of_queue, **span}
            yield {**span, "name": f"{event.device.name} {span['name']}", "pid": THREADS, "tid": thread}
        elif event.kind in (EventKind.SUBMIT, EventKind.COMPLETE):
            yield {**of_queue, "name": "in flight", "cat": "in flight", "id": f"{process}.{track}.{event.value}",
                   "ph": "b" if event.kind is EventKind.SUBMIT else "e", "args": {"said": said(event)}}
        elif event.kind in MARKS:
            yield {**of_queue, "name": event.kind.name.lower(), "ph": "i", "s": "t", "args": {"said": said(event)}}
        else:
            yield {"name": f"{event.device.name} {said(event)}", "ph": "i", "s": "t", "pid": THREADS, "tid": thread,
                   "ts": event.time_ns / 1000}

    def _names(self, process: int, name: str, track: int, of_track: str) -> Iterator[dict]:
        for key, value in (("process_name", name), ("thread_name", of_track)):
            named = (process, track, key) if key == "thread_name" else (process, key)
            if named not in self._named:
                self._named.add(named)
                yield {"ph": "M", "name": key, "pid": process, "tid": track, "args": {"name": value}}
