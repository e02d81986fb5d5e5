"""Waiting for what comes to pass by itself."""

from collections.abc import Callable
from time import monotonic, sleep

PAUSE_S = 0.0005        # between two looks


def wait_for(what: Callable[[], object], timeout_s: float) -> None:
    """Until it is so; a time out of all reason fails the test."""
    deadline = monotonic() + timeout_s
    while not what():
        assert monotonic() < deadline
        sleep(PAUSE_S)
