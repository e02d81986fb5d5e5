"""Who may serve a queue.  PROTOCOL.md, beside this file, is the whole of it.

`holder` is written here only, `active` by handlers only.  A handler adds itself to
`active` and then looks at `holder`; we set `holder` and then wait for `active`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Protocol

from ..devmodel.view import View, pointer_to
from ..devmodel.virtqueue import Side
from ._shared import lib

USER, KERNEL = int(Side.USER), int(Side.KERNEL)
BRIEF_S = 0.001     # what a handler takes that does not wait for a disk, and more

# arc -> from which side to which
ARCS = {
    "take": (Side.KERNEL, Side.USER),
    "give": (Side.USER, Side.KERNEL),
}


class Lock(Protocol):
    """One of threading's, or an Ownership."""

    def acquire(self) -> Any: ...

    def release(self) -> None: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: Any) -> None: ...


def _nothing() -> None:
    """A lock where there is none."""


class HandoffTimeout(RuntimeError):
    """A handler did not leave in time; the queue stays with the kernel half."""


class IllegalArc(RuntimeError):
    """A hand-over that the protocol does not have from here."""


class Ownership:
    """One queue's (or device's) holder.  `assigned` is the side that it goes back to.

    Not safe for several threads of userspace at once: the device's lock is held around it, or is
    given as `lock`, which `with` then takes.
    """

    __slots__ = ("name", "assigned", "_holder", "_generation", "_active", "_taken", "_depth", "_lock", "_keep",
                 "_lock_it", "_unlock_it")

    def __init__(self, name: str, word: View, entry: View, lock: Lock | None = None):
        """`word` and `entry` are views of the Ownership and Entry blocks.  Their words are kept
        as pointers, as each declined request passes here twice."""
        self.name, self._keep = name, (word, entry)
        self._lock, self._depth = lock, 0
        self._lock_it: Callable[[], Any] = lock.acquire if lock else _nothing
        self._unlock_it: Callable[[], None] = lock.release if lock else _nothing
        self.assigned = Side.USER
        self._holder = pointer_to(word, "holder")
        self._generation = pointer_to(word, "generation")
        self._active = pointer_to(entry, "active")

    @property
    def holder(self) -> Side:
        return Side(self._holder[0])

    def held_by_user(self) -> bool:
        return self._holder[0] == USER

    def held_here(self) -> bool:
        """Whether this thread is inside of `with`, where a lock was given."""
        owned = getattr(self._lock, "_is_owned", None)      # of an RLock
        return bool(self._depth) and owned is not None and owned()

    def take(self, timeout_s: float | None = None) -> None:
        """KERNEL -> USER; returns when no handler is inside.  A native handler may wait as long as a disk
        makes it, so that there is no limit to this, unless one is given: then it raises HandoffTimeout."""
        self._leave("take", KERNEL)
        self._holder[0] = USER
        self._generation[0] = (self._generation[0] + 1) & 0xffffffff
        lib.full_barrier()      # `holder` is out before `active` is read; partner: enter()
        if self._active[0]:
            self._wait(timeout_s)

    def _wait(self, timeout_s: float | None) -> None:
        started = monotonic()
        while self._active[0]:
            waited = monotonic() - started
            if timeout_s is not None and waited > timeout_s:
                self._holder[0] = KERNEL
                raise HandoffTimeout(f"{self.name}: {self._active[0]} handlers inside after "
                                     f"{timeout_s} s; wanted none")
            sleep(0 if waited < BRIEF_S else BRIEF_S)

    def give(self) -> None:
        """USER -> KERNEL; from here on userspace writes no HOLDER field."""
        self._leave("give", USER)
        self._generation[0] = (self._generation[0] + 1) & 0xffffffff
        lib.full_barrier()      # all that we wrote is out before a handler may enter
        self._holder[0] = KERNEL
        lib.full_barrier()      # `holder` is out before completions are looked at again; partner: collect_queue()

    def _leave(self, arc: str, side: int) -> None:
        if self._holder[0] != side:
            raise IllegalArc(f"{self.name}: {arc} while {self.holder!r} holds it; "
                             f"wanted {ARCS[arc][0]!r}")

    def __enter__(self) -> Ownership:
        """Hold it in userspace for a while; who holds it already goes on to."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Back to the side that it is assigned to.  Raises IllegalArc if it changed hands behind our back."""
        self.release()

    def acquire(self) -> None:
        """`with` it, begun.  Each access that userspace answers passes here, and through release(): they call nothing
        that need not be, and where each access counts they are called in place of `with`, which takes longer."""
        self._lock_it()
        try:
            if self._holder[0] != USER:
                self.take()
        except BaseException:
            self._unlock_it()
            raise
        if not self._depth:
            self._taken = self._generation[0]
        self._depth += 1

    def release(self) -> None:
        """`with` it, ended."""
        self._depth -= 1
        try:
            if not self._depth and (self.assigned == KERNEL or self._generation[0] != self._taken):
                self._return()
        finally:
            self._unlock_it()

    def _return(self) -> None:
        if self._generation[0] != self._taken:
            raise IllegalArc(f"{self.name}: generation {self._generation[0]}; wanted "
                             f"{self._taken}, as when it was taken")
        if self.assigned == Side.KERNEL:
            self.give()

    def assign(self, side: Side) -> None:
        """Assign it to a side, and take it there."""
        if self.holder != side:
            self.take() if side == Side.USER else self.give()
        self.assigned = side
