"""The ring that events are recorded by, memory that both halves map; the other side is kernel_devices/recording.h."""

from __future__ import annotations

from ..devmodel.layout import layout_block
from ..devmodel.recording import NO_QUEUE, Event, event_ring_layout
from ..devmodel.view import pointer_to, struct_of, view_of
from ._shared import ffi, lib

FIELDS = tuple(field.name for field in layout_block(Event).fields)


class EventRing:
    """Any thread may put events in, one takes them out."""

    BYTES = event_ring_layout().size
    MOST = 4096     # events taken at once

    def __init__(self, address: int):
        """`address` is that of BYTES of zeroed memory, which outlives the ring."""
        self.address = address
        ring = view_of(event_ring_layout())(address)
        self._dropped, self._claimed = pointer_to(ring.writers, "dropped"), pointer_to(ring.writers, "claimed")
        self._taken = pointer_to(ring.reader, "taken")
        self._unpack, size = struct_of(layout_block(Event)).iter_unpack, layout_block(Event).size
        self._raw = ffi.new("char[]", size * self.MOST)
        self._data, self._size = memoryview(ffi.buffer(self._raw)), size

    def record(self, kind: int, slot: int, queue: int = NO_QUEUE, value: int = 0, offset: int = 0, width: int = 0,
               began_ns: int = 0) -> None:
        """Put one in, by this thread, for the Python half of the device in `slot`: `offset` and `width` are of an
        access, in bytes; what took its time began at `began_ns`.  `kind` is a bare number, as an enum's takes long."""
        lib.event_record(self.address, kind | width << 16, slot | queue << 8 | offset << 16, value, began_ns)

    def take(self) -> list[tuple]:
        """The next ones, MOST at most; each has its FIELDS."""
        count = lib.events_take(self.address, self._raw, self.MOST)
        return list(self._unpack(self._data[:count * self._size]))

    @property
    def dropped(self) -> int:
        """Events that found no place so far."""
        return self._dropped[0]

    @property
    def waiting(self) -> int:
        """Events that have yet to be taken."""
        return self._claimed[0] - self._taken[0] & 0xffffffff
