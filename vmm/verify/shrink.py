"""A sequence that fails made short: steps are left out, then what is left is made simple, as long as the device still
falls out of step.  Delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

from .steps import Step

Fails = Callable[[list[Step]], bool]


def shrunk(steps: list[Step], fails: Fails, seconds: float) -> list[Step]:
    """The shortest that is found in so many seconds; `steps` fail."""
    end = monotonic() + seconds

    def may(found: list[Step]) -> bool:
        return monotonic() < end and fails(found)
    steps = _fewer(steps, may)
    while (simpler := _simpler(steps, may)) != steps:
        steps = simpler
    return steps


def _fewer(steps: list[Step], fails: Fails) -> list[Step]:
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            without = steps[:at] + steps[at + size:]
            if without and fails(without):
                steps = without
            else:
                at += size
        size //= 2
    return steps


def _simpler(steps: list[Step], fails: Fails) -> list[Step]:
    """Each argument of each step by turns."""
    for number, each in enumerate(steps):
        for name, value in each.given.items():
            for other in _simpler_values(value):
                tried = [*steps]
                tried[number] = replace(each, given={**steps[number].given, name: other})
                if fails(tried):
                    steps = tried
                    break
    return _fewer(steps, fails) if len(steps) < 20 else steps


def _simpler_values(value: Any) -> Iterator[Any]:
    """Those that are easier to read, the simplest first."""
    if isinstance(value, bool):
        yield from [False] * value
    elif isinstance(value, int):
        yield from dict.fromkeys(other for other in (0, 1, value & 0xff, value & 0xfff, value >> 1) if other < value)
    elif isinstance(value, list):
        for at in range(len(value)):
            yield value[:at] + value[at + 1:]
        for at, inner in enumerate(value):
            for other in _simpler_values(inner):
                yield [*value[:at], other, *value[at + 1:]]
    elif isinstance(value, str) and len(value) > 2:
        yield value[:2]
