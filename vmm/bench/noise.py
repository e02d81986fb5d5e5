"""Whether two rows differ by more than noise.  The rule, and why it is that one, is in vmm/bench/README.md."""

from __future__ import annotations

import math
from collections import Counter
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from statistics import NormalDist

CHANGE = 1.05       # medians of two runs that are closer than this are the same
ALPHA = 0.01        # how seldom the test may take equals for different
EXACT = 20          # repetitions of each up to which every order of them is counted


class Verdict(StrEnum):
    """Of the second of two rows."""

    FASTER = "faster"
    SLOWER = "slower"
    NOISE = "within noise"
    TOO_FEW = "too few repetitions"


def verdict(a: dict, b: dict) -> Verdict:
    """Of a row in two runs, which a machine that has another speed today is between."""
    ratio = b["ns_per_request"] / a["ns_per_request"]
    return Verdict.NOISE if 1 / CHANGE <= ratio <= CHANGE else spread_verdict(a, b)


def spread_verdict(a: dict, b: dict) -> Verdict:
    """Of two rows of one run, whose repetitions were interleaved: by their spread alone."""
    apart = _apart(a, b)
    if apart is None:
        return Verdict.TOO_FEW
    if not apart:
        return Verdict.NOISE
    return Verdict.SLOWER if b["ns_per_request"] > a["ns_per_request"] else Verdict.FASTER


def _apart(a: dict, b: dict) -> bool | None:
    """None where there is too little to say so, whatever the figures are."""
    if "ns_each" in a and "ns_each" in b:
        each = a["ns_each"], b["ns_each"]
        if 2 / math.comb(sum(map(len, each)), len(each[0])) > ALPHA:
            return None
        return mann_whitney(*each) <= ALPHA
    if any(row["ns_min"] == row["ns_max"] for row in (a, b)):
        return None         # one repetition, for all that is known
    return a["ns_max"] < b["ns_min"] or b["ns_max"] < a["ns_min"]


def mann_whitney(a: list[float], b: list[float]) -> float:
    """The two-sided p of the Mann-Whitney U test, ties sharing their ranks: exact for few values, by the normal
    approximation for many."""
    ranks = _doubled_ranks([*a, *b])
    small, of_small = min((len(a), sum(ranks[:len(a)])), (len(b), sum(ranks[len(a):])))
    mean = small * (len(ranks) + 1)
    off = abs(of_small - mean)
    if max(len(a), len(b)) > EXACT:
        squares = sum(rank * rank for rank in ranks) / len(ranks) - (len(ranks) + 1) ** 2
        deviation = math.sqrt(len(a) * len(b) * squares / (len(ranks) - 1))
        return 2 * (1 - NormalDist().cdf((off - 1) / deviation)) if off > 1 and deviation else 1.0
    sums = _sums(tuple(sorted(ranks)), small)
    return sum(n for total, n in sums.items() if abs(total - mean) >= off) / math.comb(len(ranks), small)


def _doubled_ranks(values: list[float]) -> list[int]:
    """Twice the rank of each, as that of a tie lies between two."""
    order, ranks, below = sorted(range(len(values)), key=values.__getitem__), [0] * len(values), 0
    for _, group in groupby(order, key=values.__getitem__):
        same = list(group)
        for at in same:
            ranks[at] = 2 * below + len(same) + 1
        below += len(same)
    return ranks


@lru_cache
def _sums(ranks: tuple[int, ...], chosen: int) -> Counter[int]:
    """How many ways there are to choose so many of the ranks, by their sum."""
    ways = [Counter() for _ in range(chosen + 1)]
    ways[0][0] = 1
    for rank in ranks:
        for count in range(chosen, 0, -1):
            for total, n in ways[count - 1].items():
                ways[count][total + rank] += n
    return ways[chosen]
