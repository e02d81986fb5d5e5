"""The thread that polls a machine's rings, kept off the CPUs that its vCPUs are on.

To the scheduler a thread that polls is one that works.  On a full host it is put beside a vCPU as likely as beside any
other, and then each waits for the end of the other's slice, some milliseconds, before it sees what the other has done.
So by the clock it is given the CPUs where no vCPU runs now, as long as there are any.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TASKS = Path("/proc/self/task")
POLLING = "iou-sqp-"        # how io_uring names such a thread (io_sq_thread, io_uring/sqpoll.c)
RUNS = "R"                  # proc_pid_stat(5): state, field 3; the CPU it is on, or was last, is field 39
STATE_AT, CPU_AT = 0, 36    # behind the name, which may have spaces in it


class Apart:
    """Of one machine."""

    def __init__(self) -> None:
        self._given: dict[int, set[int]] = {}       # polling thread -> CPUs that it has from us

    def look(self, vcpus: Iterable[int]) -> None:
        """By the clock; `vcpus` are the ids of their threads."""
        allowed = os.sched_getaffinity(0)
        if len(allowed) < 2:
            return
        for thread in [thread for thread in self._given if not (TASKS / str(thread)).exists()]:
            del self._given[thread]     # with the last ring; those that are made later have another one
        if not self._given:
            self._find()
        awake = [thread for thread in self._given if _runs_on(thread) is not None]
        if awake:
            wanted = allowed - {cpu for thread in vcpus if (cpu := _runs_on(thread)) is not None} or allowed
            for thread in awake:
                self._give(thread, wanted)

    def _find(self) -> None:
        for thread in _polling_threads():
            with suppress(OSError):     # it has ended
                self._given[thread] = os.sched_getaffinity(thread)

    def _give(self, thread: int, wanted: set[int]) -> None:
        """Unless it has ended, or somebody else has given it CPUs: those are left to it."""
        given = self._given[thread]
        try:
            if wanted != given and os.sched_getaffinity(thread) == given:
                os.sched_setaffinity(thread, wanted)
                self._given[thread] = wanted
        except OSError:
            del self._given[thread]


def _polling_threads() -> list[int]:
    found = []
    for task in TASKS.iterdir():
        with suppress(OSError):     # it has ended
            if (task / "comm").read_text().startswith(POLLING):
                found.append(int(task.name))
    return found


def _runs_on(thread: int) -> int | None:
    """The CPU that it is on, or waits for; None if it sleeps or has ended."""
    with suppress(OSError):
        fields = (TASKS / str(thread) / "stat").read_text().rpartition(")")[2].split()
        if fields[STATE_AT] == RUNS:
            return int(fields[CPU_AT])
    return None
