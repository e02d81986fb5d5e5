"""What split and packed rings have in common: chains of buffers, and how they are checked."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..kvm.memory import GuestAddressError, GuestMemory

NEXT, WRITE, INDIRECT = 1, 2, 4         # descriptor flags, VIRTIO 1.2, 2.7.5 and 2.8.5
INDIRECT_LIMIT = 65536                  # descriptors that anyone looks at in one table
DESC_BYTES = 16
MANY = 0x8000                           # more used entries than any event is about


class BrokenQueue(ValueError):
    """The driver broke a rule: the device needs a reset (2.1.2)."""


class Chain(NamedTuple):
    """One request: what the driver knows it by, its buffers as (offset into RAM, length), and how
    many places it takes in a packed ring."""

    head: int
    readable: list[tuple[int, int]]
    writable: list[tuple[int, int]]
    slots: int = 1


class RingFormat:
    """One queue's ring while it is ready.  A position is as in shared state: opaque here."""

    FIRST = 0               # position of a fresh ring
    DESC: struct.Struct     # a descriptor

    def __init__(self, name: str, state, memory: GuestMemory):
        self.name, self.state, self.memory = name, state, memory
        setup = state.setup
        self.size, self.event_index, self.indirect = setup.size, setup.event_index, setup.indirect
        self.view, self.words = memory.view, memory.words

    @classmethod
    def areas(cls, size: int) -> tuple[tuple[int, int], ...]:
        """(alignment, bytes) of the descriptor, driver and device area."""
        raise NotImplementedError

    @classmethod
    def check(cls, name: str, memory: GuestMemory, size: int, largest: int, *places: int) -> None:
        """Whether a driver's setup is sound.  Raises BrokenQueue."""
        if not cls.good_size(size, largest):
            raise BrokenQueue(f"{name}: {size} entries; wanted {cls.SIZES} up to {largest}")
        for what, at, (align, length) in zip(("descriptor", "driver", "device"), places, cls.areas(size)):
            if at % align:
                raise BrokenQueue(f"{name}: {what} area at {at:#x}; wanted a multiple of {align}")
            try:
                memory.offset(at, length)
            except GuestAddressError as error:
                raise BrokenQueue(f"{name}: {what} area: {error}") from None

    def start(self) -> None:
        """A fresh ring."""
        position = self.state.position
        position.next_avail = position.next_used = position.shown = self.FIRST
        position.unsignalled = 0

    def available(self, position: int) -> bool:
        """Whether there is a request at a position.  Raises BrokenQueue."""
        raise NotImplementedError

    def chain_at(self, position: int) -> tuple[Chain, int]:
        """The request that is there, and the position after it.  Raises BrokenQueue."""
        raise NotImplementedError

    def push(self, head: int, slots: int, written: int, touched: bool = False) -> None:
        """Complete a request: `written` bytes from the first writable one on, and, if `touched`, something behind a
        gap."""
        raise NotImplementedError

    def publish(self) -> None:
        """Show the driver what was completed."""
        raise NotImplementedError

    def enable_notify(self) -> None:
        """Have the driver ring at the next request."""
        raise NotImplementedError

    def wants_interrupt(self, used: int) -> bool:
        """Whether the driver wants one for the last `used` places."""
        raise NotImplementedError

    def count_used(self, slots: int) -> None:
        """So many more places that the driver has not been asked about."""
        position = self.state.position
        position.unsignalled = min(position.unsignalled + slots, MANY)

    def ram(self, gpa: int, length: int) -> int:
        """Where a buffer lies.  Raises BrokenQueue."""
        try:
            return self.memory.offset(gpa, length)
        except GuestAddressError as error:
            raise BrokenQueue(f"{self.name}: {error}") from None

    def table(self, gpa: int, length: int, flags: int) -> int:
        """Where an indirect table lies (2.7.5.3, 2.8.7).  Raises BrokenQueue."""
        if not self.indirect or flags & NEXT or not length or length % DESC_BYTES:
            raise BrokenQueue(f"{self.name}: indirect table of {length} bytes, flags {flags:#x}; "
                              "wanted whole entries, alone, one level, and the feature")
        return self.ram(gpa, length)

    def add_buffer(self, chain: Chain, gpa: int, length: int, flags: int) -> None:
        """One more buffer of a chain.  Raises BrokenQueue."""
        if not length or (chain.writable and not flags & WRITE) or flags & INDIRECT:
            raise BrokenQueue(f"{self.name}: buffer of {length} bytes, flags {flags:#x}; wanted "
                              "some bytes, writable buffers last, and no table inside a table")
        (chain.writable if flags & WRITE else chain.readable).append((self.ram(gpa, length), length))
