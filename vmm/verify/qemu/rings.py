"""The driver's rings of a device of QEMU's, which does requests beside each other and ends them in any order.  So a
request is shown to it when the one before it is done: what comes out is then the same each time."""

from __future__ import annotations

import struct
from typing import Any

from ...kvm.memory import GuestMemory
from ...testing.driver import PackedRing, Ring

ENTRY = struct.Struct("<QIHH")


class HeldSplit(Ring):
    """`shown` is the avail index that QEMU sees."""

    shown = 0
    apart: set[tuple[int, int, int]] = set()        # lengths that are known to differ

    def publish(self) -> None:
        """Not yet."""

    @property
    def held(self) -> bool:
        return self.shown != self.offered

    def show_next(self, ours: Ring) -> bool:
        """Show one request more, if `ours` has served that; else all.  Whether it is one that has to be used."""
        waiting = self.offered - self.shown & 0xffff
        one = waiting <= self.size and ours.used_index() != self.used_index()
        self.shown = self.shown + 1 & 0xffff if one else self.offered
        self._before = self.used_index()
        self.memory.write_u16(self.avail + 2, self.shown)
        return one

    def next_is_used(self) -> bool:
        return self.used_index() != self._before

    def rounds(self) -> int:
        """How many the device has begun to use: one that has used anything."""
        return int(self.used_index() != 0)

    def used_by(self, memory: GuestMemory) -> tuple[list[int], list[int]]:
        """What is in the used ring of `memory`: the index and ids, and lengths."""
        index, *entries = struct.unpack(f"<H{2 * self.size}I", memory.read(self.used + 2, 2 + 8 * self.size))
        return [index, *entries[::2]], entries[1::2]


class HeldPacked(PackedRing):
    """`waiting` are places whose flags, which make what begins there available, QEMU has yet to see."""

    apart: set[tuple[int, int, int]] = set()

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.waiting: dict[int, int] = {}
        self._begun, self._ended = False, 0
        self._last: set[int] = set()    # places of chains that come to the ring's end

    def show(self, place: int, flags: int) -> None:
        """Not yet."""
        self.waiting[place] = flags
        (self._last.discard if self.wrap == bool(flags & self.AVAIL) else self._last.add)(place)

    def put(self, index: int, address: int, length: int, flags: int = 0, following: int = 0,
            table: int | None = None) -> None:
        super().put(index, address, length, flags, following, table)
        if table is None:
            self.waiting.pop(index, None)

    @property
    def held(self) -> bool:
        return bool(self.waiting)

    def show_next(self, ours: Ring) -> bool:
        """As of a split ring."""
        one = self.next_is_used_by(ours)
        for place in [self._place] if one else list(self.waiting):
            self._ended += place in self._last
            super().show(place, self.waiting.pop(place))
        return one

    def next_is_used_by(self, ours: Ring) -> bool:
        """Whether that has served what is shown next."""
        self._place = next(iter(self.waiting))
        return self._is_used(ours)

    def next_is_used(self) -> bool:
        return self._is_used(self)

    def _is_used(self, ring: Ring) -> bool:
        """Whether the device has written a used descriptor to the place."""
        flags = ENTRY.unpack(ring.memory.read(ring.desc + 16 * self._place, 16))[3]
        return bool(flags & self.AVAIL) == bool(flags & self.USED)

    def rounds(self) -> int:
        """Also those that ended with what was shown last."""
        self._begun |= bool(self.memory.read_u16(self.desc + 14) & self.USED)      # at place 0, in the first round
        return self._begun + self._ended

    def used_by(self, memory: GuestMemory) -> tuple[list[int], list[int]]:
        """Ids and flags of all descriptors, and lengths.  WRITE is left out, which QEMU never sets (2.8.3)."""
        entries = list(ENTRY.iter_unpack(memory.read(self.desc, 16 * self.size)))
        waiting = self.waiting if memory is self.memory else {}
        marks = [waiting.get(place, flags) & (self.AVAIL | self.USED) for place, (_, _, _, flags) in enumerate(entries)]
        return [*marks, *(head for _, _, head, _ in entries)], [length for _, length, _, _ in entries]
