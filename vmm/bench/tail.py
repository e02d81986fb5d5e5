"""How long single requests took: the percentiles of a row, beside its median over the repetitions.

A measuring guest times one request after the other, or one batch where a doorbell is for several, in a run of its own,
and prints how many took how long (guests/stamps.c): by its serial port, as QEMU's memory is not ours to read."""

from __future__ import annotations

import re
from collections import Counter

from ..errors import UserError

MOST_STAMPED = 4096     # requests that one run may time: MOST_STAMPED of guests/stamps.h
LEAST_STAMPED = 32      # and times, whatever they take
STEP_BITS = 6           # of a power of two there are so many buckets, as a power of two itself: of guests/stamps.c
PER_MILLE = {"p50_ns": 500, "p99_ns": 990, "p999_ns": 999}
HEADS = ("p50", "p99", "p99.9")     # of columns, in that order
NOTE = "p50, p99, p99.9: of requests one at a time, each timed by itself; where depth is above 1, of whole batches"
_LINE = re.compile(r"stamps: requests=(\d+)((?: \d+:\d+)*)\n")


def stamped(text: str, tsc_khz: int) -> Counter[float]:
    """How many requests took how long, in ns, by what a guest printed.  Raises UserError."""
    found = _LINE.search(text)
    buckets = [tuple(map(int, pair.split(":"))) for pair in found[2].split()] if found else []
    if not found or sum(count for _, count in buckets) != int(found[1]):
        raise UserError(f"the measuring guest said {text.strip()[-200:]!r}; wanted `stamps:` and as many requests as "
                        "it timed")
    return Counter({middle(bucket) * 1e6 / tsc_khz: count for bucket, count in buckets})


def middle(bucket: int) -> float:
    """Of the times that the guest counts there, in ticks: none of them is further off than 1 in 128."""
    shift = max(0, (bucket >> STEP_BITS) - 1)
    least = bucket - (shift << STEP_BITS)
    return (least << shift) + ((1 << shift) - 1) / 2


def percentiles(times: Counter[float]) -> dict[str, float | None]:
    """Of a row, in ns: the least time that so many of all requests do not exceed.  None where that many are not
    there that one would lie beyond it, on the average."""
    total = times.total()
    return {key: round(_at(times, -(-total * share // 1000)), 1) if total * (1000 - share) >= 1000 else None
            for key, share in PER_MILLE.items()}


def mean(times: Counter[float]) -> float:
    """In ns."""
    return sum(ns * count for ns, count in times.items()) / times.total()


def median(times: Counter[float]) -> float:
    """In ns: the least time that half of all requests do not exceed."""
    return _at(times, -(-times.total() // 2))


def _at(times: Counter[float], rank: int) -> float:
    for ns in sorted(times):
        rank -= times[ns]
        if rank <= 0:
            return ns
    raise ValueError(f"rank {rank} beyond the last of {times.total()} times")


def named(row: dict) -> dict[str, float]:
    """Those that a row has, in ns, by what they are called."""
    return {name: row[key] for name, key in zip(HEADS, PER_MILLE) if row.get(key) is not None}


def how_many(ms: int, ns_each: float) -> int:
    """Requests, or batches, to time one by one in about so many ms."""
    return max(LEAST_STAMPED, min(int(ms * 1e6 / ns_each), MOST_STAMPED))
