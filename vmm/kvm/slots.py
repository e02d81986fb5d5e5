"""Memory slots of a VM, whoever runs it: which there are, and who is told as they change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import NamedTuple


class Slot(NamedTuple):
    """Guest-physical address, bytes, address in this process."""

    gpa: int
    bytes: int
    address: int
    read_only: bool


class WithSlots:
    """A VM that has them; any thread may add and remove them."""

    def __init__(self) -> None:
        self._moving = threading.Lock()
        self.slots: dict[int, Slot] = {}                # replaced as it changes: other threads look at it
        self.on_moved: list[Callable[[], None]] = []    # called when they change

    def add_memory(self, gpa: int, size: int, address: int, read_only: bool = False) -> int:
        """`size` bytes at `address` of this process appear at `gpa`; the slot's number."""
        with self._moving:
            number = next(number for number in count() if number not in self.slots)
            self._set(number, Slot(gpa, size, address, read_only))
        return number

    def remove_memory(self, number: int) -> None:
        """Take a memory slot away."""
        with self._moving:
            self._set(number, None)

    def _set(self, number: int, slot: Slot | None) -> None:
        self._place(number, slot)
        others = {each: found for each, found in self.slots.items() if each != number}
        self.slots = others | {number: slot} if slot else others
        for call in self.on_moved:
            call()

    def _place(self, number: int, slot: Slot | None) -> None:
        """Have the guest find it, or no longer, before anybody is told."""
