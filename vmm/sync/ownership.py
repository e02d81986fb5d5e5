"""Who may serve a queue.  PROTOCOL.md, beside this file, is the whole of it.

`holder` is written here only, `active` by handlers only.  A handler adds itself to
`active` and then looks at `holder`; we set `holder` and then wait for `active`.
"""

from __future__ import annotations

from time import monotonic, sleep

from ..devmodel.view import address_of, ffi
from ..devmodel.virtqueue import Side
from ._shared import lib

# arc -> who takes it, from which side to which
ARCS = {
    "take": (Side.KERNEL, Side.USER),
    "give": (Side.USER, Side.KERNEL),
}


class HandoffTimeout(RuntimeError):
    """A handler did not leave in time; the queue stays with the kernel half."""


class IllegalArc(RuntimeError):
    """A hand-over that the protocol does not have from here."""


class Ownership:
    """One queue's (or device's) holder.  `home` is the side that it goes back to.

    Not safe for several threads of userspace at once: the device's lock is held around it.
    """

    __slots__ = ("name", "home", "_word", "_entry", "_holder", "_generation")

    def __init__(self, name: str, word, entry):
        """`word` and `entry` are views of the Ownership and Entry blocks."""
        self.name, self._word, self._entry = name, word, entry
        self.home = Side.USER
        self._holder = ffi.cast("uint32_t *", address_of(word))     # its first field

    @property
    def holder(self) -> Side:
        return self._word.holder

    def held_by_user(self) -> bool:
        return self._holder[0] == 0     # Side.USER; asked before each write of a HOLDER field

    def take(self, timeout_s: float = 1.0) -> None:
        """KERNEL -> USER; returns when no handler is inside.  Raises HandoffTimeout."""
        self._arc("take")
        self._word.holder = Side.USER
        self._word.generation = (self._word.generation + 1) & 0xffffffff
        lib.full_barrier()      # `holder` is out before `active` is read; partner: enter()
        if not self._entry.active:
            return
        deadline = monotonic() + timeout_s
        while self._entry.active:
            if monotonic() > deadline:
                self._word.holder = Side.KERNEL
                raise HandoffTimeout(f"{self.name}: {self._entry.active} handlers inside after "
                                     f"{timeout_s} s; wanted none")
            sleep(0)

    def give(self) -> None:
        """USER -> KERNEL; from here on userspace writes no HOLDER field."""
        self._arc("give")
        self._word.generation = (self._word.generation + 1) & 0xffffffff
        lib.full_barrier()      # all that we wrote is out before a handler may enter
        self._word.holder = Side.KERNEL

    def _arc(self, name: str) -> None:
        before, _ = ARCS[name]
        if self._word.holder != before:
            raise IllegalArc(f"{self.name}: {name} while {self._word.holder!r} holds it; "
                             f"wanted {before!r}")

    def __enter__(self) -> Ownership:
        """Hold it in userspace for a while."""
        if not self.held_by_user():
            self.take()
        self._generation = self._word.generation
        return self

    def __exit__(self, *_) -> None:
        """Back to where it lives.  Raises IllegalArc if it changed hands behind our back."""
        if self._word.generation != self._generation:
            raise IllegalArc(f"{self.name}: generation {self._word.generation}; wanted "
                             f"{self._generation}, as when it was taken")
        if self.home == Side.KERNEL:
            self.give()

    def move(self, home: Side) -> None:
        """Change where it lives, and take it there."""
        if self._word.holder != home:
            self.take() if home == Side.USER else self.give()
        self.home = home
