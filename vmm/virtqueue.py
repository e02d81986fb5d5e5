"""Split virtqueues, user side (VIRTIO 1.2, section 2.7).  The counterpart of
kernel_devices/virtqueue.h: the same checks, from the same shared state.

The guest wrote every byte read here and may be writing it still: each descriptor is read
once, checked, and used from the copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .devmodel.view import address_of, view_of
from .devmodel.virtqueue import queue_layout
from .engine import Engine
from .memory import GuestAddressError, GuestMemory
from .sync._shared import lib
from .sync.ownership import Ownership

NEXT, WRITE, INDIRECT = 1, 2, 4         # descriptor flags, 2.7.5
NO_INTERRUPT = 1                        # avail flags, 2.7.6
INDIRECT_LIMIT = 65536                  # `next` reaches no further
_DESC = struct.Struct("<QIHH")
_USED = struct.Struct("<II")


class BrokenQueue(ValueError):
    """The driver broke a rule: the device needs a reset (2.1.2)."""


class Chain(NamedTuple):
    """One request: its head, and its buffers as (offset into RAM, length)."""

    head: int
    readable: list[tuple[int, int]]
    writable: list[tuple[int, int]]


class UserQueue:
    """One queue, as the Python half sees it.  Used only while userspace holds it."""

    def __init__(self, name: str, index: int, state, memory: GuestMemory):
        """`state` is the view of the queue's shared state; ours refuses to write HOLDER fields
        while the kernel half holds the queue."""
        self.name, self.index, self.memory = name, index, memory
        self.ownership = Ownership(name, state.ownership, state.entry)
        self.state = view_of(queue_layout())(address_of(state), state, self.ownership.held_by_user)
        self.engine: Engine | None = None
        self._view = memory.view
        self._words = memory.words
        self._size = self._desc = self._avail = self._used = 0
        self.latch()

    def latch(self) -> None:
        """Take up the setup block after it was written."""
        setup = self.state.setup
        self._size, self._event_index, self._indirect = setup.size, setup.event_index, setup.indirect
        self.ready = bool(setup.ready)
        if self.ready:
            offset = self.memory.offset
            self._desc = offset(setup.desc, 16 * self._size)
            self._avail = offset(setup.avail, 6 + 2 * self._size)
            self._used = offset(setup.used, 6 + 8 * self._size)

    def check(self, size: int, largest: int, desc: int, avail: int, used: int) -> None:
        """Whether a driver's setup is sound (2.7, alignment and size).  Raises BrokenQueue."""
        if not 1 <= size <= largest or size & (size - 1):
            raise BrokenQueue(f"{self.name}: {size} entries; wanted a power of two up to {largest}")
        for what, at, align, length in (("descriptor table", desc, 16, 16 * size),
                                        ("avail ring", avail, 2, 6 + 2 * size),
                                        ("used ring", used, 4, 6 + 8 * size)):
            if at % align:
                raise BrokenQueue(f"{self.name}: {what} at {at:#x}; wanted a multiple of {align}")
            try:
                self.memory.offset(at, length)
            except GuestAddressError as error:
                raise BrokenQueue(f"{self.name}: {what}: {error}") from None

    def waiting(self) -> int:
        """Requests that wait.  Raises BrokenQueue if there are more than the ring holds."""
        count = (self._words[self._avail + 2 >> 1]
                 - self.state.position.next_avail) & 0xffff
        if count > self._size:
            raise BrokenQueue(f"{self.name}: {count} requests waiting; wanted at most {self._size}")
        return count

    def next_head(self) -> int:
        """Head of the next request, which is thereby taken on."""
        position = self.state.position
        next_avail = position.next_avail
        position.next_avail = (next_avail + 1) & 0xffff
        return self._words[(self._avail + 4 >> 1) + (next_avail & self._size - 1)]

    # receive queues, whose requests are buffers that wait for something

    def has_buffers(self) -> bool:
        return bool(self.engine and self.engine.flight.failed) or self.waiting() > 0

    def buffers(self) -> Iterator[int]:
        """Heads of the buffers that there are: those kept from the kernel half, then those available.
        None is taken by this."""
        if self.engine:
            yield from (tag.head for tag, _ in self.engine.failed())
        start = self.state.position.next_avail
        for i in range(self.waiting()):
            yield self._words[(self._avail + 4 >> 1) + (start + i & self._size - 1)]

    def take_buffers(self, count: int) -> None:
        """Take the first `count` of them."""
        kept = [index for _, index in self.engine.failed()][:count] if self.engine else []
        for index in kept:
            self.engine.release(index)
        position = self.state.position
        position.next_avail = position.next_avail + count - len(kept) & 0xffff

    def chain(self, head: int) -> Chain:
        """The request that starts at descriptor `head`.  Raises BrokenQueue."""
        view, size = self._view, self._size
        readable: list[tuple[int, int]] = []
        writable: list[tuple[int, int]] = []
        table, entries, left, index, indirect = self._desc, size, size, head, False
        while True:
            if left == 0 or index >= entries:
                raise BrokenQueue(f"{self.name}: descriptor {index} of chain {head}; wanted a chain "
                                  f"inside {entries} entries that ends")
            left -= 1
            address, length, flags, following = _DESC.unpack_from(view, table + 16 * index)
            if flags & INDIRECT:
                if indirect or not self._indirect or flags & NEXT or not length or length % 16:
                    raise BrokenQueue(f"{self.name}: indirect table of {length} bytes, flags {flags:#x}; "
                                      "wanted whole entries, alone, one level, and the feature")
                table, entries, index, indirect = self._ram(address, length), length // 16, 0, True
                left = min(entries, INDIRECT_LIMIT)
                continue
            if not length or (writable and not flags & WRITE):
                raise BrokenQueue(f"{self.name}: buffer of {length} bytes, flags {flags:#x}; wanted "
                                  "some bytes, and writable buffers last")
            (writable if flags & WRITE else readable).append((self._ram(address, length), length))
            if not flags & NEXT:
                return Chain(head, readable, writable)
            index = following

    def _ram(self, gpa: int, length: int) -> int:
        try:
            return self.memory.offset(gpa, length)
        except GuestAddressError as error:
            raise BrokenQueue(f"{self.name}: {error}") from None

    def chains(self) -> Iterator[Chain]:
        """Requests until the queue is empty and the driver will ring for the next one."""
        while True:
            for _ in range(self.waiting()):
                yield self.chain(self.next_head())
            self._publish()
            if self._event_index:
                self._words[(self._used + 4 >> 1) + 4 * self._size] = self.state.position.next_avail
            # between asking for a doorbell and looking again; partner: the driver moves the
            # avail index and then reads avail_event (2.7.13.4.1)
            lib.full_barrier()
            if not self.waiting():
                return

    def push(self, head: int, written: int) -> None:
        """Complete a request; the driver sees it at the next publish."""
        position = self.state.position
        used = position.next_used
        _USED.pack_into(self._view, self._used + 4 + 8 * (used & (self._size - 1)), head, written)
        position.next_used = (used + 1) & 0xffff

    def _publish(self) -> None:
        self._words[self._used + 2 >> 1] = self.state.position.next_used

    def wants_interrupt(self) -> bool:
        """Whether the driver wants one for what was used since the last (2.7.7)."""
        self._publish()
        lib.full_barrier()      # the index is out before the driver's wish is read (2.7.7.2)
        position = self.state.position
        now, before, valid = position.next_used, position.signalled, position.signalled_valid
        if now == before:
            return False
        position.signalled, position.signalled_valid = now, 1
        if self._event_index:
            event = self._words[(self._avail + 4 >> 1) + self._size]
            return not valid or (now - event - 1) & 0xffff < (now - before) & 0xffff
        return not self._words[self._avail >> 1] & NO_INTERRUPT
