"""Packed rings, user side (VIRTIO 1.2, section 2.8).  The counterpart of kernel_devices/packed_ring.h."""

from __future__ import annotations

import struct

from .ring import DESC_BYTES, INDIRECT, INDIRECT_LIMIT, NEXT, WRITE, BrokenQueue, Chain, RingFormat

AVAIL, USED = 1 << 7, 1 << 15           # descriptor flags, 2.8.1
WRAP = 1 << 15                          # of a position: the wrap counter
ENABLE, DISABLE, AT_DESCRIPTOR = 0, 1, 2     # event flags, 2.8.10


class PackedRing(RingFormat):
    """A position is a place in the ring, and the wrap counter in bit 15, as in the event areas."""

    FIRST = WRAP
    DESC = struct.Struct("<QIHH")       # address, length, id, flags
    SIZES = "1 or more"

    @staticmethod
    def good_size(size: int, largest: int) -> bool:
        return 1 <= size <= largest

    @classmethod
    def areas(cls, size: int) -> tuple[tuple[int, int], ...]:
        return (16, 16 * size), (4, 4), (4, 4)

    def __init__(self, name: str, state, memory):
        super().__init__(name, state, memory)
        setup = state.setup
        self._desc, self._driver, self._device = (memory.offset(at, length) for at, (_, length) in zip(
            (setup.desc, setup.avail, setup.used), self.areas(self.size)))

    def start(self) -> None:
        super().start()
        self.enable_notify()

    def _after(self, position: int, slots: int) -> int:
        """The position so many places on; at the end of the ring the wrap counter turns."""
        place = (position & ~WRAP) + slots
        return position & WRAP | place if place < self.size else (position & WRAP ^ WRAP) | place - self.size

    def available(self, position: int) -> bool:
        flags = self.words[self._desc + DESC_BYTES * (position & ~WRAP) + 14 >> 1]
        wrap = bool(position & WRAP)
        return bool(flags & AVAIL) == wrap and bool(flags & USED) != wrap

    def chain_at(self, position: int) -> tuple[Chain, int]:
        chain = self._walk(position & ~WRAP)
        return chain, self._after(position, chain.slots)

    def _walk(self, index: int) -> Chain:
        chain, unpack, view, start = Chain(0, [], []), self.DESC.unpack_from, self.view, index
        for slots in range(1, self.size + 1):
            address, length, head, flags = unpack(view, self._desc + DESC_BYTES * index)
            if flags & INDIRECT:
                self._walk_table(chain, address, length, flags)
            else:
                self.add_buffer(chain, address, length, flags)
            if not flags & NEXT:
                return chain._replace(head=head, slots=slots)   # the last one's id is the chain's (2.8.6)
            index = index + 1 if index + 1 < self.size else 0
        raise BrokenQueue(f"{self.name}: the chain at descriptor {start} has no end; wanted one within "
                          f"{self.size} descriptors")

    def _walk_table(self, chain: Chain, gpa: int, length: int, flags: int) -> None:
        """An indirect table: all of it, in order (2.8.7)."""
        table = self.table(gpa, length, flags)
        for i in range(min(length // DESC_BYTES, INDIRECT_LIMIT)):
            address, size, _, inner = self.DESC.unpack_from(self.view, table + DESC_BYTES * i)
            self.add_buffer(chain, address, size, inner)

    def push(self, head: int, slots: int, written: int, touched: bool = False) -> None:
        """The first one's flags are kept back: drivers look at used descriptors in order."""
        position = self.state.position
        used = position.next_used
        at = self._desc + DESC_BYTES * (used & ~WRAP)
        struct.pack_into("<IH", self.view, at + 8, written, head)
        flags = (AVAIL | USED if used & WRAP else 0) | (WRITE if written or touched else 0)
        if position.shown == used:
            position.shown_flags = flags
        else:
            self.words[at + 14 >> 1] = flags
        position.next_used = self._after(used, slots)
        self.count_used(slots)

    def publish(self) -> None:
        position = self.state.position
        shown = position.shown
        if shown != position.next_used:
            position.shown = position.next_used
            self.words[self._desc + DESC_BYTES * (shown & ~WRAP) + 14 >> 1] = position.shown_flags

    def enable_notify(self) -> None:
        """Have the driver ring at the next request: where it will be, before the flags that say so."""
        if self.event_index:
            self.words[self._device >> 1] = self.state.position.next_avail
        self.words[self._device + 2 >> 1] = AT_DESCRIPTOR if self.event_index else ENABLE

    def _line(self, position: int) -> int:
        """Positions on a line that goes round twice the ring."""
        return (position & ~WRAP) + (0 if position & WRAP else self.size)

    def wants_interrupt(self, used: int) -> bool:
        flags = self.words[self._driver + 2 >> 1] & 3
        if flags != AT_DESCRIPTOR or not self.event_index:
            return flags != DISABLE
        now, event = self.state.position.next_used, self.words[self._driver >> 1]
        return (self._line(now) - self._line(event) - 1) % (2 * self.size) < used
