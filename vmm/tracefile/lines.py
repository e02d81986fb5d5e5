"""Events as lines of text, and as JSON."""

from __future__ import annotations

import json

from ..devmodel.recording import EventKind
from .reader import Gap, Happened


def line(event: Happened | Gap) -> str:
    """When, whose thread, which half, which device, and what."""
    if isinstance(event, Gap):
        return f"{_ms(event.time_ns)}  {event.dropped:,} events were dropped before this"
    return (f"{_ms(event.time_ns)}  {event.thread:8} {event.half.name.lower():7} {_of(event):12} "
            f"{event.kind.name.lower():9} {said(event)}").rstrip()


def _ms(ns: int) -> str:
    return f"{ns / 1e6:14.6f} ms"


def _of(event: Happened) -> str:
    return event.device.name + ("" if event.queue is None else f".{event.queue}")


def said(event: Happened) -> str:
    """What there is to say of an event but its kind."""
    parts = [_access(event) if event.width else _WORDS.get(event.kind, lambda _: "")(event)]
    if event.reason:
        parts.append(f"for {event.reason}")
    if event.took_ns:
        parts.append(f"in {event.took_ns / 1e3:,.3f} us")
    return ", ".join(filter(None, parts))


def _access(event: Happened) -> str:
    if event.kind is EventKind.VISIT:       # by Python, of a register
        register = event.device.register(event.offset, event.width)
        return register.name if register else f"{event.offset:#x}"
    if event.register:
        return f"{event.register.name} = {event.register.say(event.value)}"
    return f"{event.width} bytes at {event.offset:#x} = {event.value:#x}"


def _requests(event: Happened) -> str:
    if not event.device.queues:
        return ""
    return f"{event.value:,} request{'' if event.value == 1 else 's'}"


def _request(event: Happened) -> str:
    return f"request {event.value & 0xffffffff}.{event.value >> 32}"


_WORDS = {EventKind.VISIT: _requests, EventKind.COLLECT: _requests, EventKind.SUBMIT: _request,
          EventKind.COMPLETE: _request, EventKind.TAKE: lambda event: f"generation {event.value}",
          EventKind.GIVE: lambda event: f"generation {event.value}"}


def as_json(event: Happened | Gap) -> str:
    """An object, of what is known of the event."""
    if isinstance(event, Gap):
        return json.dumps({"time_ns": event.time_ns, "dropped": event.dropped})
    found = {"time_ns": event.time_ns, "kind": event.kind.name.lower(), "half": event.half.name.lower(),
             "thread": event.thread, "device": event.device.name, "queue": event.queue, "value": event.value}
    if event.width:
        found |= {"register": event.register.name if event.register else None, "offset": event.offset,
                  "width": event.width}
    if event.register:
        found["said"] = event.register.say(event.value)
    if event.reason:
        found["reason"] = event.reason
    if event.took_ns:
        found["took_ns"] = event.took_ns
    return json.dumps(found)
