"""Split rings, user side (VIRTIO 1.2, section 2.7).  The counterpart of kernel_devices/split_ring.h."""

from __future__ import annotations

import struct

from .ring import DESC_BYTES, INDIRECT, INDIRECT_LIMIT, NEXT, BrokenQueue, Chain, RingFormat

NO_INTERRUPT = 1                        # avail flags, 2.7.6
_USED = struct.Struct("<II")


class SplitRing(RingFormat):
    """A position is an index, free running."""

    DESC = struct.Struct("<QIHH")       # address, length, flags, next
    SIZES = "a power of two"

    @staticmethod
    def good_size(size: int, largest: int) -> bool:
        return 1 <= size <= largest and not size & (size - 1)

    @classmethod
    def areas(cls, size: int) -> tuple[tuple[int, int], ...]:
        return (16, 16 * size), (2, 6 + 2 * size), (4, 6 + 8 * size)

    def __init__(self, name: str, state, memory):
        super().__init__(name, state, memory)
        setup = state.setup
        self._desc, self._avail, self._used = (memory.offset(at, length) for at, (_, length) in zip(
            (setup.desc, setup.avail, setup.used), self.areas(self.size)))
        self._unpublished = False

    def available(self, position: int) -> bool:
        count = self.words[self._avail + 2 >> 1] - position & 0xffff
        if count > self.size:
            raise BrokenQueue(f"{self.name}: {count} requests waiting; wanted at most {self.size}")
        return count > 0

    def chain_at(self, position: int) -> tuple[Chain, int]:
        head = self.words[(self._avail + 4 >> 1) + (position & self.size - 1)]
        return self._walk(head), position + 1 & 0xffff

    def _walk(self, head: int) -> Chain:
        chain, unpack, view = Chain(head, [], []), self.DESC.unpack_from, self.view
        table, entries, left, index, inside = self._desc, self.size, self.size, head, False
        while True:
            if left == 0 or index >= entries:
                raise BrokenQueue(f"{self.name}: descriptor {index} of chain {head}; wanted a chain "
                                  f"inside {entries} entries that ends")
            left -= 1
            address, length, flags, following = unpack(view, table + DESC_BYTES * index)
            if flags & INDIRECT and not inside:
                table, entries = self.table(address, length, flags), length // DESC_BYTES
                left, index, inside = min(entries, INDIRECT_LIMIT), 0, True     # `next` reaches no further
                continue
            self.add_buffer(chain, address, length, flags)
            if not flags & NEXT:
                return chain
            index = following

    def push(self, head: int, _slots: int, written: int, touched: bool = False) -> None:
        position = self.state.position
        used = position.next_used
        _USED.pack_into(self.view, self._used + 4 + 8 * (used & self.size - 1), head, written)
        position.next_used = used + 1 & 0xffff
        self._unpublished = True
        self.count_used(1)

    def publish(self) -> None:
        if self._unpublished:       # else the index is the driver's to look at, whatever it is
            self._unpublished = False
            self.words[self._used + 2 >> 1] = self.state.position.next_used

    def enable_notify(self) -> None:
        """Have the driver ring at the next request."""
        if self.event_index:
            self.words[(self._used + 4 >> 1) + 4 * self.size] = self.state.position.next_avail
        elif self.words[self._used >> 1]:       # which the kernel half has set (2.7.8)
            self.words[self._used >> 1] = 0

    def wants_interrupt(self, used: int) -> bool:
        if self.event_index:
            event = self.words[(self._avail + 4 >> 1) + self.size]
            return self.state.position.next_used - event - 1 & 0xffff < used
        return not self.words[self._avail >> 1] & NO_INTERRUPT
