"""What the Python half counts, so that others can read it as of one moment (PROTOCOL.md, "A consistent read")."""

from __future__ import annotations

from ..devmodel.layout import layout_block
from ..devmodel.view import View, words_of
from ..devmodel.virtqueue import UserCounters

_LAYOUT = layout_block(UserCounters)
_SEQUENCE = _LAYOUT.field("sequence").offset // 4
_HANDLED, _BYTES, _BUSY_NS = (_LAYOUT.field(name).offset // 8 for name in ("handled", "bytes", "busy_ns"))


def count(counters: View, handled: int, moved: int, busy_ns: int = 0) -> None:
    """Add to a queue's UserCounters; under the device's lock.  A count that a signal's exception broke off
    has left the sequence odd: the next one makes it even."""
    sequences, words = words_of(counters)
    sequence = sequences[_SEQUENCE] | 1
    sequences[_SEQUENCE] = sequence
    words[_HANDLED] += handled
    words[_BYTES] += moved
    words[_BUSY_NS] += busy_ns
    sequences[_SEQUENCE] = sequence + 1 & 0xffffffff
