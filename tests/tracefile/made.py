"""Recordings put together by hand."""

import msgpack

from vmm.devmodel.exit_path import Half
from vmm.devmodel.recording import FORMAT, NO_QUEUE, VERSION, EventKind
from vmm.tracefile.reader import FIELDS

HEADER = {"format": FORMAT, "version": VERSION, "monotonic_ns": 0, "wall_ns": 7, "event": FIELDS}
END = {"end": "closed", "dropped": 0, "time": 9_000_000}
DISK = {"device": 0, "name": "disk0", "schema": "blk", "queues": ["request[0]", "request[1]"],
        "reasons": {8: "ring_asleep", 12: "other_request"}, "registers": [
            {"name": "queue_notify", "offset": 0x50, "width": 4, "doorbell": True, "values": {}, "bits": []},
            {"name": "status", "offset": 0x70, "width": 4, "doorbell": False, "values": {},
             "bits": [["driver_ok", 2, 1, {}], ["mode", 4, 2, {3: "fast"}], ["level", 8, 4, {}]]},
            {"name": "command", "offset": 0x80, "width": 2, "doorbell": False, "values": {7: "fill"}, "bits": []}]}
KERNEL, NATIVE, PYTHON = Half


def event(kind, time=1000, value=0, half=KERNEL, queue=NO_QUEUE, offset=0, width=0, reason=0, took=0, thread=77):
    return [time, value, thread, took, offset, 0, queue, width, reason, int(half), int(kind)]


def rung(time, queue=0, half=KERNEL, kind=EventKind.WRITE, reason=0):
    return event(kind, time, queue, half, offset=0x50, width=4, reason=reason)


def recording(*items, start=(HEADER, DISK), end=(END,)) -> bytes:
    return b"".join(map(msgpack.packb, (*start, *items, *end)))


# a request done at once, one that Python does, one in flight, one whose doorbell found the ring asleep
SERVED = (
    event(EventKind.VCPU, 0, 3),
    rung(1000), event(EventKind.VISIT, 3000, 1, queue=0, took=1500), event(EventKind.INTERRUPT, 3100, queue=0),
    rung(10_000), event(EventKind.VISIT, 11_000, queue=0, reason=12, took=800),
    rung(11_100, kind=EventKind.DECLINE, reason=12), rung(20_000, half=PYTHON),
    event(EventKind.TAKE, 21_000, 4, PYTHON, 0), event(EventKind.GIVE, 22_000, 5, PYTHON, 0),
    event(EventKind.VISIT, 30_000, 2, PYTHON, 0, took=8000),
    rung(100_000, 1), event(EventKind.SUBMIT, 101_000, 1 << 32 | 9, queue=1),
    event(EventKind.VISIT, 102_000, queue=1, reason=8, took=1900), rung(102_100, 1, kind=EventKind.DECLINE, reason=8),
    event(EventKind.COMPLETE, 501_000, 1 << 32 | 9, queue=1, thread=78),
    event(EventKind.COLLECT, 502_000, 1, queue=1, took=1000, thread=78),
    event(EventKind.WRITE, 8_000_000, 0x334, PYTHON, offset=0x70, width=4),
)
