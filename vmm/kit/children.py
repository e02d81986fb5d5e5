"""Programs that are run for a user, and do not outlive what runs them: a signal that ends us ends all that they
started, too."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..sync.signals import uninterrupted

PATIENCE_S = 5      # for what was asked to end


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess:
    """As subprocess.run does, in a process group of its own, which has the terminal if we have it.  Raises OSError."""
    process = None
    try:
        with uninterrupted():       # or it runs, and nobody knows
            process = subprocess.Popen(command, process_group=0, **options)
        with _terminal_of(process.pid):
            out, error = process.communicate()
    except BaseException:
        if process:
            _end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def _end(process: subprocess.Popen) -> None:
    """Everything in its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)


@contextmanager
def _terminal_of(group: int) -> Iterator[None]:
    """The group is in the foreground for the block, where ours is: it has what is typed, and Ctrl-C."""
    try:
        ours = os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        ours = False
    if not ours:
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)      # or taking it back would stop us
    try:
        with suppress(OSError):     # it has ended
            os.tcsetpgrp(0, group)
        yield
    finally:
        with suppress(OSError):
            os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)
