"""Timers for devices, in userspace: one-shot and periodic.

The kernel half has none: BPF programs on tracepoints may not use bpf_timer (kernel/bpf/verifier.c,
check_map_prog_compatibility: "tracing progs cannot use bpf_timer yet").  A callback finds the device
held, so that it may do whatever an `on_write_` may.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .register_device import RegisterDevice


class Timer:
    """One timer of a device."""

    def __init__(self, device: RegisterDevice, callback: Callable[[], None]):
        self._device, self._callback = device, callback
        self.every_s: float | None = None
        self.due = 0            # number of the entry that counts, among all there ever were; 0 for none

    def start(self, after_s: float, every_s: float | None = None) -> None:
        """Call back once, in `after_s` seconds, and then each `every_s` if that is given.  A timer that runs
        is started anew.  The device has its place in a machine by then."""
        if after_s < 0 or (every_s is not None and every_s <= 0):
            raise ValueError(f"a timer of {after_s} s, then each {every_s} s; wanted times that are not over")
        self.every_s = every_s
        timers = self._device.place.timers
        assert timers is not None       # as any machine has them
        timers.add(self, monotonic() + after_s)

    def stop(self) -> None:
        """Call back no more.  Called with the device held, it will not be called from then on."""
        self.due = 0

    @property
    def running(self) -> bool:
        """Whether it will call back."""
        return bool(self.due)

    def expire(self, number: int) -> None:
        """Entry `number` has come to its time.  What it raises ends the machine."""
        try:
            with self._device.alone():
                if number != self.due:      # it was stopped, or started anew, while we waited
                    return
                if self.every_s is None:
                    self.due = 0
                self._callback()
        except BaseException as error:
            self._device.failed(error)


class Timers:
    """All timers of a machine, on one thread, which is started with the first."""

    def __init__(self):
        self._entries: list[tuple[float, int, Timer]] = []
        self._numbers, self._changed = itertools.count(1), threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def add(self, timer: Timer, at: float) -> None:
        """Let it expire at `at`, of the monotonic clock; what it had before counts no more."""
        with self._changed:
            timer.due = next(self._numbers)
            heapq.heappush(self._entries, (at, timer.due, timer))
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, daemon=True, name="timers")
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while entry := self._next():
            at, number, timer = entry
            timer.expire(number)
            if number == timer.due and timer.every_s is not None:
                self._again(timer, number, max(at + timer.every_s, monotonic()))

    def _again(self, timer: Timer, number: int, at: float) -> None:
        with self._changed:
            if number == timer.due:
                heapq.heappush(self._entries, (at, number, timer))

    def _next(self) -> tuple[float, int, Timer] | None:
        """The next entry that has come to its time; None at the end."""
        with self._changed:
            while not self._ended:
                left = self._entries[0][0] - monotonic() if self._entries else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._entries)
                self._changed.wait(left)
        return None

    def close(self) -> None:
        """None expires from now on."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
