"""Work on a thread of its own, whose outcome is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Outcome = TypeVar("Outcome")


class Background(Generic[Outcome]):
    """`work()`, begun at once: a context manager that waits for its end.  It is worth a thread where it is spent in
    the kernel."""

    def __init__(self, work: Callable[[], Outcome], name: str):
        self._work = work
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()      # not Thread.join(), which an exception may leave with a thread running
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome = self._work()
        except BaseException as error:
            self._error = error
        self._done.set()

    def result(self) -> Any:
        """Its outcome, or raises what it raised; waits for it."""
        self._done.wait()
        if self._error:
            raise self._error
        return self._outcome

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.wait()
