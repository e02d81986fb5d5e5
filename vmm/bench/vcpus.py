"""What a guest says whose vCPUs all do block requests at once, each through a queue of its own (guests/vcpus.c)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UserError
from .rows import MOST_VCPUS

_DONE = r" ticks=(\d+)((?: \d+)+)"
_LINE = re.compile(rf"vcpus:{_DONE}(?: floor:{_DONE})?\n")


@dataclass(frozen=True)
class Rates:
    """Requests, and how many of them each vCPU did in a second; and the same, in sum, around a doorbell that nobody
    listens to, 0 where that was not run."""

    requests: int
    each: tuple[float, ...]
    floor: float = 0

    @property
    def ns(self) -> float:
        """From one request to the next, of all vCPUs together."""
        return 1e9 / sum(self.each)

    @property
    def floor_ns(self) -> float | None:
        return 1e9 / self.floor if self.floor else None


def rates(text: str, tsc_khz: int) -> Rates:
    """Raises UserError where a guest says something else."""
    found = _LINE.search(text)
    if not found or "0" in (found[1], found[3]) or not (requests := sum(map(int, found[2].split()))):
        raise UserError(f"the measuring guest said {text.strip()[-200:]!r}; wanted `vcpus:` and what each has done")
    floor = sum(_per_second(found[3], found[4], tsc_khz)) if found[3] else 0
    return Rates(requests, _per_second(found[1], found[2], tsc_khz), floor)


def _per_second(ticks: str, done: str, tsc_khz: int) -> tuple[float, ...]:
    return tuple(int(count) * tsc_khz * 1e3 / int(ticks) for count in done.split())


def crowded(row: dict) -> str:
    """What is to be said of a row whose vCPUs are more than the CPUs that they run on."""
    if (row.get("vcpus") or 0) <= row.get("host_cpus", MOST_VCPUS):
        return ""
    return f"{row['vcpus']} vCPUs take turns on {row['host_cpus']} CPU{'s' if row['host_cpus'] > 1 else ''}"
