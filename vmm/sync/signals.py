"""Signals whose handlers raise, as Python's own for SIGINT does, kept out of where that would do harm.

A handler runs on the main thread between any two instructions.  An exception out of it leaves a
thread that was started unknown, a part half closed; in CPython 3.11 one out of Thread.join() even
marks a running thread as stopped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """For the block no handler of ours or of Python's runs; the first signal of the meantime is
    delivered behind it.  Threads but the main one are never interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {number: handler for number in ENDING if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda number, _frame: held.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


@contextmanager
def temporary_folder(prefix: str, parent: Path | str | None = None) -> Iterator[str]:
    """As tempfile.TemporaryDirectory, but that a signal which comes as it is removed leaves nothing of it."""
    from tempfile import TemporaryDirectory
    with uninterrupted():
        made = TemporaryDirectory(prefix=prefix, dir=parent)
    try:
        yield made.name
    finally:
        with uninterrupted():
            made.cleanup()


@contextmanager
def ending_once() -> Iterator[None]:
    """For the block the first SIGINT or SIGTERM raises SystemExit, with the status that a shell gives
    for it, and those behind it are ignored, to the end of the process: what was begun is cleared up.
    What is ignored already stays so (nohup(1), jobs in the background of a script).  On the main thread."""
    ended = False

    def end(number: int, _frame: object) -> None:
        nonlocal ended
        ended = True
        for each in before:
            signal.signal(each, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, before)    # Python's own end puts the defaults back
        raise SystemExit(128 + number)

    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, end)
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, SystemExit):     # raised in a __set_name__, which Python wraps before 3.12
            raise error.__cause__ from None
        raise
    finally:
        for number, handler in before.items() if not ended else ():
            signal.signal(number, handler)
