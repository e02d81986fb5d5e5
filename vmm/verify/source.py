"""Where the choices of a strategy come from: a seeded generator, or hypothesis, which can shrink them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Source(Protocol):
    """All that a strategy may base a choice on."""

    def whole(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""

    def one(self, of: Sequence[T]) -> T:
        """One of several; what is more likely is in it more often."""

    def chance(self, of_100: int) -> bool:
        """True in that many of 100 cases."""


class Seeded:
    """The same choices for the same seed, on each machine."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def whole(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1)) if high - low < 1 << 32 else \
            self._random.randint(low, high)

    def one(self, of: Sequence[T]) -> T:
        return of[int(self._random.random() * len(of))]

    def chance(self, of_100: int) -> bool:
        return self._random.random() * 100 < of_100


class Drawn:
    """Choices that hypothesis makes: `draw` is that of `st.data()`."""

    def __init__(self, draw: Any):
        from hypothesis import strategies
        self._draw, self._strategies = draw, strategies

    def whole(self, low: int, high: int) -> int:
        return self._draw(self._strategies.integers(low, high))

    def one(self, of: Sequence[T]) -> T:
        return self._draw(self._strategies.sampled_from(of))

    def chance(self, of_100: int) -> bool:
        return self._draw(self._strategies.integers(0, 99)) >= 100 - of_100


EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 513, 4095, 4096, 4097, 65535)


def value(source: Source, bits: int) -> int:
    """A value of that many bits: the edges of ranges more often than others."""
    top = (1 << bits) - 1
    kind = source.whole(0, 5)
    if kind < 3:
        return min(source.one(EDGES), top)
    if kind == 3:
        return top - min(source.one(EDGES), top)
    return 1 << source.whole(0, bits - 1) if kind == 4 else source.whole(0, top)
