"""What devices do, as events: both builds of a handler and the Python half put them into one ring, from which a
recording is written (`splitvmm run --record`)."""

from __future__ import annotations

import enum
from functools import cache

from .exit_path import Half
from .layout import compose, layout_block
from .schema import Block, enum_of, u8, u16, u32, u64

EVENTS = 1 << 17        # of the ring; a power of two
NO_QUEUE = 0xff         # in place of a queue's number: of the device as a whole
FORMAT, VERSION = "splitvmm recording", 1


class EventKind(enum.IntEnum):
    """What has happened.  None is 0, which a place of the ring that is free has."""

    VCPU = 1            # the thread is that of vCPU `value`
    WRITE = 2           # a guest's write of a register reached this half
    READ = 3            # a guest's read of a register reached it: not one that a page of memory answers
    VISIT = 4           # a doorbell was answered, `value` requests of it done; it took from `took` before on
    COLLECT = 5         # the same, because requests in flight have come back
    DECLINE = 6         # the write goes up to the Python half
    UPCALL = 7          # the Python half is asked to look at a queue
    SUBMIT = 8          # request `value` is in flight
    COMPLETE = 9        # it has come back
    INTERRUPT = 10      # the driver is interrupted
    TAKE = 11           # the Python half takes the queue; `value` is its generation
    GIVE = 12           # and gives it back


class Event(Block):
    """One of them.  `kind` is written last."""

    time = u64("when: CLOCK_MONOTONIC", unit="ns")
    value = u64("what was written or read; requests done; which request: its tag, and the tag's serial above it; "
                "generation")
    thread = u32("whose it is, as the kernel numbers it for this half")
    took = u32("how long it took until then, if that is known", unit="ns")
    offset = u16("register, from the device's base", unit="bytes")
    device = u8("slot of the device")
    queue = u8("which of its queues, or NO_QUEUE")
    width = u8("size of the access", unit="bytes")
    reason = u8("of a decline, or of what is left to the Python half; else 0")
    half = enum_of(u8, Half)("who says it")
    kind = enum_of(u8, EventKind)("what has happened; 0 while the place is free")


class EventWriters(Block):
    """Where those who put events in stand."""

    claimed = u32("places given out, free running, atomic")
    reserved = u32("to a multiple of 8")
    dropped = u64("events that found no place, atomic")


class EventReader(Block):
    """Where the one who takes them out stands."""

    taken = u32("places read, free running")
    reserved = u32("to a multiple of 8")


@cache
def event_ring_layout():
    return compose("event_ring", "event ring", "events of one VM, on their way to its recording", [
        ("writers", layout_block(EventWriters), None, "who puts them in"),
        ("reader", layout_block(EventReader), None, "who takes them out"),
        ("event", layout_block(Event), EVENTS, "event n at n % EVENTS"),
    ])


ENUMS = (EventKind,)
CONSTANTS = {"EVENT_PLACES": EVENTS, "NO_QUEUE": NO_QUEUE}
