"""Virtqueues (VIRTIO 1.2, sections 2.7 and 2.8): the rings in guest memory and the state that
both halves of a device share about one queue.

Every device's state starts with a `control` block of the same shape as a queue's
ownership, so that a handler that serves no queue is entered and left the same way.
"""

from __future__ import annotations

import enum
from functools import cache

from .layout import MAX_REASONS, compose, layout_block
from .schema import HOLDER, KERNEL, USER, Block, bits_of, enum_of, le16, le32, le64, u8, u16, u32, u64

COMMON_REASONS = {
    "HELD_BY_USER": "userspace holds the queue",
    "NOT_READY": "the queue is not set up",
    "MALFORMED": "a chain breaks a rule of the specification",
    "OUTSIDE_RAM": "an address is outside guest memory",
    "STRADDLES": "a buffer spans two memory elements",
    "BUSY": "other vCPUs kept the queue filled, or the device locked",
    "BUDGET": "it asked for more than one exit may take, of bytes or of time",
    "RING_ASLEEP": "submitted, but the thread that polls the ring sleeps",
    "IO_FAILED": "asynchronous I/O came back with an error or short",
    "NO_RING": "it takes real I/O, and there is no ring to do it through",
}

CAUSE_USED_BUFFER = 1       # VIRTIO 1.2, 4.2.2, InterruptStatus

RING_ASLEEP, BUDGET = (1 + list(COMMON_REASONS).index(name) for name in ("RING_ASLEEP", "BUDGET"))


class Side(enum.IntEnum):
    """Who holds a queue."""

    USER = 0
    KERNEL = 1


class VringDesc(Block):
    """Descriptor (VIRTIO 1.2, 2.7.5)."""

    addr = le64("buffer", unit="guest-physical address")
    len = le32("its length", unit="bytes")
    flags = bits_of(le16, next=0, write=1, indirect=2)("what the buffer is")
    next = le16("index of the next descriptor, if flags say so")


class VringUsedElem(Block):
    """One completion (VIRTIO 1.2, 2.7.8)."""

    id = le32("head of the chain that is done")
    len = le32("written to its device-writable part", unit="bytes")


class NoConfig(Block):
    """There is no device configuration; a driver may look."""

    reserved = u32("nothing")


class Ownership(Block, writer=USER):
    """Who may serve; see vmm/sync/PROTOCOL.md."""

    holder = enum_of(u32, Side)("the side that may serve")
    generation = u32("moves with every hand-over")


class Entry(Block, writer=KERNEL):
    """Who is inside, and what came of it.  `sequence` is odd while the counters move."""

    active = u32("handlers inside, atomic")
    rings = u32("doorbells that the handler inside has yet to look at, atomic; of a device, 1 while it is locked")
    sequence = u32("odd while a handler writes the counters below")
    last_reason = u32("why it declined last; 0 if it never did")
    handled = u64("requests completed by the handler")
    assisted = u64("of these, by the native build, after the kernel half had declined the doorbell")
    waited = u64("of these, by the native build, waiting for them: writes that the page cache takes")
    bytes = u64("data moved by the handler", unit="bytes")
    busy_ns = u64("time inside the handler", unit="ns")
    longest_ns = u64("of one visit, at most; of a kernel half's where there is one", unit="ns")
    polled = u64("of those handled, requests found by looks of the ring's thread")
    declined = u64[MAX_REASONS]("doorbells declined, by reason, atomic")
    doorbells = u64("doorbells that reached the handler, atomic; behind the others, which another CPU may be at")


class Setup(Block, writer=USER):
    """What the driver set up, latched when it made the queue ready."""

    desc = u64("descriptor table", unit="guest-physical address")
    avail = u64("avail ring; of a packed ring, the driver's event area", unit="guest-physical address")
    used = u64("used ring; of a packed ring, the device's event area", unit="guest-physical address")
    size = u16("ring entries; of a split ring a power of two")
    ready = u8("1 while the queue may be served")
    event_index = u8("1 if VIRTIO_F_EVENT_IDX was negotiated")
    indirect = u8("1 if VIRTIO_F_INDIRECT_DESC was negotiated")
    packed = u8("1 if VIRTIO_F_RING_PACKED was negotiated")
    cause = u16("where the register page tells the cause of an interrupt; 0 if it does not", unit="bytes")


class Position(Block, writer=HOLDER):
    """Where the holder stands; the only memory of it that anyone has."""

    next_avail = u16("avail entry to serve next, free running; of a packed ring: its place, and wrap counter")
    next_used = u16("used entry to write next, likewise")
    unsignalled = u16("entries used since the driver's wish for an interrupt was last looked at")
    shown = u16("of a packed ring: used entries that the driver can see end here")
    shown_flags = u16("what to write there for it to see the others")
    reserved = u16[3]("to a multiple of 8")


class UserCounters(Block, writer=USER):
    """What the Python half did.  `sequence` is odd while what is counted with a request moves."""

    sequence = u32("odd while the Python half counts requests")
    reserved = u32("to a multiple of 8")
    doorbells = u64("doorbells served in userspace")
    handled = u64("requests completed in userspace")
    bytes = u64("data moved by userspace", unit="bytes")
    busy_ns = u64("time serving in userspace", unit="ns")


@cache
def control_layout():
    """The device-wide counterpart of a queue: ownership and counters."""
    return compose("device_control", "device control", "ownership and counters of one device", [
        ("ownership", layout_block(Ownership), None, "who may serve"),
        ("entry", layout_block(Entry), None, "who is inside, and what came of it"),
        ("user", layout_block(UserCounters), None, "what the Python half did"),
    ])


@cache
def queue_layout():
    """One virtqueue's shared state."""
    return compose("virtqueue", "virtqueue", "shared state of one virtqueue", [
        ("ownership", layout_block(Ownership), None, "who may serve"),
        ("setup", layout_block(Setup), None, "what the driver set up"),
        ("entry", layout_block(Entry), None, "who is inside, and what came of it"),
        ("position", layout_block(Position), None, "where the holder stands"),
        ("user", layout_block(UserCounters), None, "what the Python half did"),
    ])


MEMORY_STRUCTS = (VringDesc, VringUsedElem)
