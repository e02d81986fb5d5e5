"""A device's shadow, read while its halves write it: each queue's counters as of one moment.

The memory may be another process's, and then whatever is asked of it is a copy.  Three are made, one after the other:
where the sequences of the first and of the third are equal and even, nothing moved while the second was made
(PROTOCOL.md, "A consistent read").
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import sleep
from typing import Any

from ..devmodel.layout import BlockLayout, layout_block
from ..devmodel.view import TornRead, ffi, struct_of
from ..devmodel.virtqueue import Entry, Ownership, UserCounters, control_layout, queue_layout

BRISK = 64          # looks one after the other, at a writer that runs; from then on it may have lost its CPU
PAUSE_S = 0.0005
TRIES = 4000        # before it is said that a block never stands still
CONTROL, QUEUE = control_layout(), queue_layout()
_OWNERSHIP, _ENTRY, _USER = (struct_of(layout_block(block)) for block in (Ownership, Entry, UserCounters))

Copies = Callable[[], tuple[bytes, bytes, bytes]]       # what was read first, second and third


def copies_of(address: int, size: int) -> Copies:
    """Of memory of this process, which has to stay there as long as they are asked for."""
    memory = ffi.buffer(ffi.cast("char *", address), size)
    return lambda: (memory[:], memory[:], memory[:])


class Shadow:
    """The beginning of a device's state: its control block, and `queues` virtqueues from offset `at` on, in bytes.

    `retries` is how often the last read looked again."""

    def __init__(self, where: str, queues: int, at: int):
        self.where, self.retries = where, 0
        self.blocks: list[tuple[BlockLayout, int]] = [
            (CONTROL, 0), *((QUEUE, at + i * QUEUE.size) for i in range(queues))]
        self.size = self.blocks[-1][1] + self.blocks[-1][0].size
        self._sequences = _picker([offset + _sequence(layout, part) for layout, offset in self.blocks
                                   for part in ("entry", "user")])

    def read(self, copies: Copies) -> bytes:
        """All of it, each block as it was at one moment, though not all at the same one.  Raises TornRead if a
        block does not stand still."""
        before, found, after = copies()
        left = self._moved(before, after, range(len(self.blocks)))
        self.retries = 0
        if not left:
            return found
        whole = bytearray(found)
        for self.retries in range(1, TRIES):
            if self.retries > BRISK:
                sleep(PAUSE_S)
            before, found, after = copies()
            moved = self._moved(before, after, left)
            for number in set(left) - set(moved):
                layout, at = self.blocks[number]
                whole[at:at + layout.size] = found[at:at + layout.size]
            left = moved
            if not left:
                return bytes(whole)
        raise TornRead(f"{self.where}: no quiet moment in {TRIES} reads")

    def _moved(self, before: bytes, after: bytes, numbers: Any) -> list[int]:
        """Which of these blocks are not of one moment, by their two sequences."""
        first, last = self._sequences.unpack_from(before), self._sequences.unpack_from(after)
        return [n for n in numbers if (first[2 * n] | first[2 * n + 1]) & 1
                or first[2 * n] != last[2 * n] or first[2 * n + 1] != last[2 * n + 1]]

    def counters(self, data: bytes, number: int) -> dict[str, Any]:
        """Of a block by its number (0 is the control block, 1 the first queue).  Those of the Python half begin with
        user_; `declined` is by reason's number."""
        layout, at = self.blocks[number]
        entry = _ENTRY.unpack_from(data, at + layout.field("entry").offset)
        user = _USER.unpack_from(data, at + layout.field("user").offset)
        handled, assisted, waited, moved, busy_ns, longest_ns, polled, *declined, doorbells = entry[4:]
        return {"doorbells": doorbells, "handled": handled, "assisted": assisted, "waited": waited, "bytes": moved,
                "busy_ns": busy_ns, "longest_ns": longest_ns, "polled": polled, "declined": declined,
                "user_doorbells": user[2], "user_handled": user[3], "user_bytes": user[4], "user_busy_ns": user[5]}

    def ownership(self, data: bytes, number: int) -> tuple[int, int]:
        """A block's holder and generation."""
        layout, at = self.blocks[number]
        return _OWNERSHIP.unpack_from(data, at + layout.field("ownership").offset)


def _sequence(layout: BlockLayout, part: str) -> int:
    item = layout.field(part)
    assert item.block       # both are blocks
    return item.offset + item.block.field("sequence").offset


def _picker(offsets: list[int]) -> struct.Struct:
    """Unpacks the u32 at each of the offsets, which rise."""
    ends = [0, *(offset + 4 for offset in offsets)]
    return struct.Struct("<" + "".join(f"{offset - end}xI" for end, offset in zip(ends, offsets)))
