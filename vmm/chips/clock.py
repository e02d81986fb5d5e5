"""The time that chips go by, and when they need to be looked at next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

NS_PER_S = 1_000_000_000
TSC_MASK = (1 << 64) - 1


class Clock:
    """The host's monotonic clock, and a time-stamp counter that counts by it."""

    def __init__(self, tsc_khz: int = 1_000_000):
        self.tsc_khz = tsc_khz

    def ns(self) -> int:
        """Now, in nanoseconds."""
        return time.monotonic_ns()

    def tsc(self, now_ns: int) -> int:
        """What the counter has then, before a vCPU's offset is added, in ticks."""
        return now_ns * self.tsc_khz // 1_000_000 & TSC_MASK

    def ns_of_ticks(self, ticks: int) -> int:
        """How long the counter takes for `ticks`, in nanoseconds, rounded up."""
        return -(-ticks * 1_000_000 // self.tsc_khz)


class Timed(Protocol):
    """A chip that does something at a time."""

    def tick(self, now_ns: int) -> None:
        """Do what is due, and tell the deadlines when it is next."""


class Deadlines:
    """When each chip needs its next `tick`.  `earlier` is told when the first of these moves forward."""

    def __init__(self, earlier: Callable[[], None]):
        self._earlier = earlier
        self._at: dict[Timed, int] = {}     # nanoseconds of the clock
        self.next_ns: int | None = None     # the earliest of them

    def set(self, chip: Timed, at_ns: int | None) -> None:
        """From now on it is that one for this chip, or none."""
        if at_ns is None:
            self._at.pop(chip, None)
        else:
            self._at[chip] = at_ns
        before, self.next_ns = self.next_ns, min(self._at.values(), default=None)
        if self.next_ns is not None and (before is None or self.next_ns < before):
            self._earlier()

    def due(self, now_ns: int) -> Iterator[Timed]:
        """The chips whose time has come, the earliest first, each once."""
        late = [(at_ns, chip) for chip, at_ns in self._at.items() if at_ns <= now_ns]
        for _at_ns, chip in sorted(late, key=lambda each: each[0]):
            yield chip
