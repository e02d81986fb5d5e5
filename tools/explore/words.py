"""Shared words as Python's half of an explored disk touches them: each access goes through the explorer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vmm.devmodel.view import View, pointer_to
from vmm.devmodel.view import ffi as view_ffi
from vmm.sync import ownership as ownership_module
from vmm.virtqueue import uring as uring_module
from vmm.virtqueue import virtqueue as virtqueue_module

if TYPE_CHECKING:
    from .world import Explored


class Over(BaseException):
    """The schedule ends here; not an error of the code that it comes out of."""


def word_of(view: View, name: str) -> int:
    """A field's address."""
    return int(view_ffi.cast("uintptr_t", pointer_to(view, name)))


class Word:
    """A shared word of 4 bytes, in place of a pointer to it."""

    __slots__ = ("_explored", "_at")

    def __init__(self, explored: Explored, at: int):
        self._explored, self._at = explored, at

    def __getitem__(self, _: int) -> int:
        value = self._explored.lib.user_load(self._at, 4)
        self._explored.check()
        return value

    def __setitem__(self, _: int, value: int) -> None:
        self._explored.lib.user_store(self._at, 4, value)
        self._explored.check()

    def plain(self) -> int:
        return self._explored.ffi.cast("uint32_t *", self._at)[0]


class Looks:
    """Whether a queue is looked at, in place of that block."""

    __slots__ = ("_word",)

    def __init__(self, explored: Explored, block: View):
        self._word = Word(explored, word_of(block, "polling"))

    @property
    def polling(self) -> int:
        return self._word[0]

    @polling.setter
    def polling(self, value: int) -> None:
        self._word[0] = value


class Words:
    """Guest memory as 16-bit words, in place of GuestMemory.words."""

    __slots__ = ("_explored", "_base")

    def __init__(self, explored: Explored):
        self._explored, self._base = explored, explored.machine.memory.address

    def __getitem__(self, index: int) -> int:
        value = self._explored.lib.user_load(self._base + 2 * index, 2)
        self._explored.check()
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._explored.lib.user_store(self._base + 2 * index, 2, value)
        self._explored.check()


@contextmanager
def patched(explored: Explored) -> Iterator[None]:
    """What the user half asks of the system is asked of the explorer."""
    lib = explored.lib

    def said(what: Callable[[], None]) -> Callable[..., int]:
        def call(*_: Any) -> int:
            what()
            explored.check()
            return 0
        return call
    fence, wait = said(lib.user_fence), said(lib.user_yield)
    ring = SimpleNamespace(ring_enter=said(lib.user_wake), ring_cancel=lambda fd: 0)
    changes = [(uring_module, "_binding", lambda: (None, ring)), (uring_module, "sleep", wait),
               (uring_module, "os", SimpleNamespace(**{**vars(os), "eventfd_write": said(lib.user_signal)})),
               (ownership_module, "sleep", wait)]
    changes += [(module, "lib", Fenced(module.lib, fence)) for module in (
        ownership_module, virtqueue_module, uring_module)]
    kept = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


class Fenced:
    """The C library with another full barrier."""

    def __init__(self, lib: Any, fence: Callable[..., int]):
        self._lib, self.full_barrier = lib, fence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lib, name)
