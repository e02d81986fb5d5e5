"""Asynchronous I/O of one queue: an io_uring whose rings both halves map, and the table
that says which descriptor chain each request in flight belongs to.

The kernel's own part (`rings`, `sqe`) is as linux/io_uring.h has it; where in `rings` its
heads and tails lie is told by io_uring_setup(2), and kept in `wiring`.  vmm/sync/PROTOCOL.md,
"Requests in flight", says who writes what when.
"""

from __future__ import annotations

import enum
from functools import cache

from .layout import PAGE, compose, layout_block
from .schema import HOLDER, USER, Block, enum_of, i32, nested, u8, u16, u32, u64

ENTRIES = 64        # of the submission ring: as many as fill the one page that Linux 6.5 takes
COMPLETIONS = 128   # what the kernel makes of that
TAGS = COMPLETIONS  # requests in flight: as many as the completion ring holds, so it cannot overflow
SEGMENTS = 128      # buffers of one request
RECEIVE_BUFFERS = 256       # that packets are put into: as many as a queue may have
UNTAGGED = 0xffffffff   # of what belongs to no request
NOP = 0xfffffffe        # of an entry that is there for its completion


class TagState(enum.IntEnum):
    FREE = 0
    FLYING = 1      # the kernel has it
    FAILED = 2      # it came back undone: userspace does it again, or submits it again


class Raises(enum.IntEnum):
    """Interrupts that are raised through a ring: the doorbell's claim raises none of them."""

    NONE = 0
    COLLECTED = 1   # for what a collector has shown
    ALL = 2


class Sqe(Block):
    """Submission entry (linux/io_uring.h, struct io_uring_sqe)."""

    opcode = u8("IORING_OP_")
    flags = u8("IOSQE_")
    ioprio = u16("priority, not used")
    fd = i32("index of a registered file")
    off = u64("where in the file", unit="bytes")
    addr = u64("buffer or iovec", unit="address in the process")
    len = u32("bytes, or iovecs")
    rw_flags = u32("RWF_, or the operation's own flags")
    user_data = u64("tag, and its serial in the upper half")
    buf_index = u16("not used")
    personality = u16("not used")
    splice_fd_in = u32("not used")
    addr3 = u64("not used")
    reserved = u64("to 64 bytes")


class Cqe(Block):
    """Completion (linux/io_uring.h, struct io_uring_cqe)."""

    user_data = u64("of the submission")
    res = i32("what the system call would have returned, or -errno")
    flags = u32("not used")


class UringIovec(Block):
    """One buffer of several: struct iovec of readv(2)."""

    base = u64("start", unit="address in the process")
    length = u64("length", unit="bytes")


class Tag(Block):
    """One request in flight."""

    status = u64("of blk: where the status byte goes; of net: the header", unit="guest-physical address")
    place = u64("of blk: where in the image", unit="bytes")
    buffers = u32("how many, in its list")
    range = u32("of blk: how long the range is to discard or to zero", unit="bytes")
    wanted = u32("result that means success", unit="bytes")
    written = u32("what to report as used then; of a range, fallocate(2)'s mode", unit="bytes")
    serial = u32("moves with each use, so that no completion counts for another request")
    head = u16("what the driver knows the chain by")
    slots = u16("places that it takes in a packed ring")
    state = enum_of(u8, TagState)("where it is")
    kind = u8("the device's own; 0 if it is of no request of the driver's")
    next = u16("of a run, one I/O that several requests are: the tag of the next one, plus 1; 0 for the last")
    run = u32("of a run's first: result that means success, of all of them; 0 for what is no run", unit="bytes")


class Wiring(Block, writer=USER):
    """What io_uring_setup(2) said, and where things are in this process."""

    address = u64("of this struct", unit="address in the process")
    ram = u64("of guest RAM", unit="address in the process")
    sq_head = u32("in `rings`", unit="bytes")
    sq_tail = u32("in `rings`", unit="bytes")
    sq_flags = u32("in `rings`", unit="bytes")
    cq_head = u32("in `rings`", unit="bytes")
    cq_tail = u32("in `rings`", unit="bytes")
    cqes = u32("in `rings`", unit="bytes")
    ready = u32("1 while the ring may be used")
    polled = u32("1 if the kernel's thread polls the submission ring; also which of `rings` it is")
    raises = enum_of(u32, Raises)("which interrupts are raised through the ring, by writing to registered file 1")
    ring_fd = i32("for the native build")
    kicks = u32("moves when userspace has the handler look at the queue, though nobody rang")
    completion_fd = i32("signalled when requests come back; for the native build")
    one = u64("what is written there", unit="1")
    lazy_notify = u32("1 if requests come back at once: no doorbell is asked for while some are in flight")
    poll_always = u32("1 if a busy queue is polled whether that is worth while or not")
    poll_ns = u64("a busy queue is polled until nothing has come for so long; 0: never", unit="ns")


class Flight(Block, writer=HOLDER):
    """What is in flight."""

    submitted = u64("requests submitted")
    completed = u64("requests that came back")
    kicks_seen = u32("`kicks`, as of the handler's last look")
    tail = u32("submission entries written, free running; published by the next submit")
    free = u32("tags that are free")
    failed = u32("tags that userspace is to do again")
    nop = u32("1 while an entry that does nothing is in flight: its completion has the queue visited again")
    window = u32("of receive queues: requests to keep in flight")
    bells = u32("doorbells rung, each soon after the one before")
    bell_cpu = u32("where the last of them was")
    found = u32("requests that looks have found, since they began")
    raised = u32("interrupts raised for them")
    bell_ns = u64("when the last doorbell was rung", unit="ns")
    look_ns = u64("when the queue was last looked at", unit="ns")
    until_ns = u64("looks end then, if nothing has come", unit="ns")
    rest_ns = u64("how long none were begun when they were not worth while", unit="ns")
    rested_ns = u64("none are begun before", unit="ns")
    stack = u16[TAGS]("their numbers: the first `free` of them")
    tag = nested(Tag)[TAGS]("requests")


class Looks(Block, writer=HOLDER):
    """Read at each doorbell, and seldom written: apart from what changes with each request."""

    polling = u32("1 while the ring's thread looks at the queue, and no doorbell is needed")


class Rings(Block, writer=HOLDER):
    """Shared with the kernel's io_uring, which writes its ends of them."""

    page = u8[PAGE]("heads, tails and completions, where `wiring` says")
    sqe = nested(Sqe)[ENTRIES]("submissions")


class ReceiveBuffers(Block, writer=HOLDER):
    """Of a receive queue with mergeable buffers: what packets are put into as they come, each buffer
    once.  A packet takes as many as it needs, from the first on; what is not used stays."""

    first = u32("the first buffer, free running")
    end = u32("behind the last one, free running")
    bytes = u64("how much fits into them", unit="bytes")
    iovec = nested(UringIovec)[2 * RECEIVE_BUFFERS]("each twice, RECEIVE_BUFFERS apart, so that any run of them is "
                                                    "one list")
    gpa = u64[RECEIVE_BUFFERS]("where each starts", unit="guest-physical address")
    head = u16[RECEIVE_BUFFERS]("what the driver knows each by")
    slots = u16[RECEIVE_BUFFERS]("places that each takes in a packed ring")


class Iovecs(Block, writer=HOLDER):
    """Buffers of requests that have several: SEGMENTS for each tag."""

    iovec = nested(UringIovec)[TAGS * SEGMENTS]("buffers")


@cache
def uring_layout():
    """One queue's io_uring; `rings` first, as its two parts start on page boundaries."""
    return compose("uring", "uring", "asynchronous I/O of one queue", [
        ("rings", layout_block(Rings), 2, "io_uring's own: one that is submitted to, one that is polled"),
        ("wiring", layout_block(Wiring), None, "where things are"),
        ("flight", layout_block(Flight), None, "what is in flight"),
        ("looks", layout_block(Looks), None, "whether the queue is looked at"),
        ("receive", layout_block(ReceiveBuffers), None, "where packets go"),
        ("iovecs", layout_block(Iovecs), None, "buffers of requests that have several"),
    ])


STRIDE = -(-uring_layout().size // PAGE) * PAGE
"""Bytes from one queue's to the next: each starts on a page."""

STRUCTS = (Cqe,)
ENUMS = (TagState, Raises)
CONSTANTS = {"ENTRIES": ENTRIES, "COMPLETIONS": COMPLETIONS, "TAGS": TAGS, "SEGMENTS": SEGMENTS,
             "RECEIVE_BUFFERS": RECEIVE_BUFFERS, "UNTAGGED": UNTAGGED, "NOP": NOP, "STRIDE": STRIDE}
