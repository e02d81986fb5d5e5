"""Which events are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import UserError
from .reader import Gap, Happened


@dataclass(frozen=True)
class Filter:
    """None, or no words, is all; times are ns since the recording began."""

    devices: tuple[str, ...] = ()
    queue: int | None = None
    kinds: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    from_ns: int = 0
    to_ns: int | None = None

    def wants(self, event: Happened | Gap) -> bool:
        if event.time_ns < self.from_ns or (self.to_ns is not None and event.time_ns > self.to_ns):
            return False
        if isinstance(event, Gap):
            return True
        return (not self.devices or event.device.name in self.devices) and self.queue in (None, event.queue) and \
            (not self.kinds or event.kind.name.lower() in self.kinds) and \
            (not self.reasons or event.reason in self.reasons)

    def of(self, events: Iterable[Happened | Gap]) -> Iterator[Happened | Gap]:
        """Those of `events` that are wanted.  Raises UserError, at the end, for a device that none of them was of."""
        seen = set()
        for event in events:
            if isinstance(event, Happened):
                seen.add(event.device.name)
            if self.wants(event):
                yield event
        for name in self.devices:
            if name not in seen:
                raise UserError(f"--device {name}: no event is of it; wanted one of {', '.join(sorted(seen))}")
