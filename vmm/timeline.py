"""What this process does until its guest runs, and when: `splitvmm run --stats=json` tells it, `splitvmm bench start`
adds it up."""

from __future__ import annotations

from time import monotonic_ns


class span:
    """A part of the start, for the block; parts may lie within each other, and beside each other on other threads."""

    __slots__ = ("_began", "_part")
    taken: list[tuple[str, int, int]] = []      # part, begin and end by CLOCK_MONOTONIC, in ns
    MOST = 256                                  # parts that are kept: a process may make one machine after the other

    def __init__(self, part: str):
        self._part = part

    def __enter__(self) -> None:
        self._began = monotonic_ns()

    def __exit__(self, *_) -> None:
        if len(span.taken) < span.MOST:
            span.taken.append((self._part, self._began, monotonic_ns()))
