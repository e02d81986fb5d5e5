"""virtio-blk, each case against the Python half, and against the native and the BPF build of the kernel
half with the Python half behind it: all must end the same way."""

import os
import struct

import pytest

from tools.driver import EVENT_IDX, INDIRECT, INDIRECT_DESC, NEXT, WRITE, BlkDriver
from vmm.devices.blk import FLUSH
from vmm.devmodel.devices.blk import SECTOR, RequestType, Status, Writes
from vmm.devmodel.virtqueue import Side
from vmm.offload.native import Collector
from vmm.sync._shared import ffi, lib

IN, OUT, GET_ID = RequestType.IN, RequestType.OUT, RequestType.GET_ID
D = BlkDriver
IORING_OP_WRITE = 23    # linux/io_uring.h
FILE_IO = 0             # of the ring's files, the image (uring.h)


def sector(number: int) -> bytes:
    return number.to_bytes(8, "little") * 64


def offloaded(driver) -> bool:
    return driver.device.mode != "off"


def counters(driver, queue=0):
    return driver.device.state.queue[queue]


# What the handler serves

def test_read(driver):
    assert driver.read(7, 2) == sector(7) + sector(8)
    assert counters(driver).entry.handled == offloaded(driver)
    assert counters(driver).user.handled == (not offloaded(driver))


def test_last_sector(driver):
    assert driver.read(4095, 1) == sector(4095)


def test_identify(driver):
    assert driver.identify() == b"disk0"


def test_write_then_read(driver, image):
    driver.write(3, b"x" * 1024)
    driver.flush()
    assert driver.read(2, 3) == sector(2) + b"x" * 1024
    assert image.read_bytes()[3 * SECTOR:5 * SECTOR] == b"x" * 1024


def test_many_segments(driver):
    sizes = [1, 511, 513, 100, 924, 512, 511]
    at, parts = D.DATA, []
    for size in sizes:
        parts.append((at, size, WRITE))
        at += size + 3
    assert driver.request(IN, 10, parts) == 0 or offloaded(driver)
    data = b"".join(driver.memory.read(a, n) for a, n, _ in parts)
    assert data == b"".join(sector(10 + i) for i in range(len(data) // SECTOR))
    assert driver.rings[0].take() == [(0, sum(sizes) + 1)]


def test_indirect(driver):
    table, ring = D.DATA + 0x10000, driver.rings[0]
    driver.header(IN, 20)
    ring.chain([(D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)], table=table)
    ring.put(5, table, 48, INDIRECT)
    ring.offer(5)
    assert bool(ring.ring()) == offloaded(driver)
    assert driver.status() == 0 and driver.memory.read(D.DATA, 512) == sector(20)
    assert ring.take() == [(5, 513)]


def test_batch(driver):
    """Five requests and one doorbell."""
    ring = driver.rings[0]
    for i in range(5):
        driver.memory.write(D.HEADER + 32 * i, struct.pack("<IIQ", IN, 0, 100 + i))
        ring.chain([(D.HEADER + 32 * i, 16, 0), (D.DATA + 512 * i, 512, WRITE),
                    (D.STATUS + 0x400 + i, 1, WRITE)], first=3 * i)
        ring.offer(3 * i)
    ring.ring()
    assert ring.take() == [(3 * i, 513) for i in range(5)]
    assert driver.memory.read(D.DATA, 2560) == b"".join(sector(100 + i) for i in range(5))


def test_batch_with_a_write_in_the_middle(driver):
    """The handler stops at what it declines; the Python half goes on from there, in order."""
    ring = driver.rings[0]
    driver.memory.write(D.DATA + 0x8000, b"w" * 512)
    for i, kind in enumerate((IN, OUT, IN)):
        driver.memory.write(D.HEADER + 32 * i, struct.pack("<IIQ", kind, 0, 50))
        data = (D.DATA + 0x8000, 512, 0) if kind == OUT else (D.DATA + 512 * i, 512, WRITE)
        ring.chain([(D.HEADER + 32 * i, 16, 0), data, (D.STATUS + 0x400 + i, 1, WRITE)], first=3 * i)
        ring.offer(3 * i)
    assert bool(ring.ring()) == offloaded(driver)
    assert sorted(head for head, _ in ring.take()) == [0, 3, 6]
    assert driver.memory.read(D.DATA, 512) in (sector(50), b"w" * 512)      # virtio has no order here
    assert driver.memory.read(D.DATA + 1024, 512) in (sector(50), b"w" * 512)
    assert driver.read(50, 1) == b"w" * 512
    if offloaded(driver):
        assert counters(driver).entry.handled == 4 and counters(driver).user.handled == 0


def test_batch_with_a_write_and_no_ring(image, machine_of, offload):
    """The handler stops at what it declines; the Python half goes on from there, in order."""
    driver = _driver(machine_of, image, offload, disk={"asynchronous": "off"})
    ring = driver.rings[0]
    for i, kind in enumerate((IN, OUT, IN)):
        driver.memory.write(D.HEADER + 32 * i, struct.pack("<IIQ", kind, 0, 50))
        ring.chain([(D.HEADER + 32 * i, 16, 0), (D.DATA + 512 * i, 512, 0 if kind == OUT else WRITE),
                    (D.STATUS + 0x400 + i, 1, WRITE)], first=3 * i)
        ring.offer(3 * i)
    assert ring.ring() == 0 and [head for head, _ in ring.take()] == [0, 3, 6]
    assert counters(driver).entry.handled == 1 and counters(driver).user.handled == 2


def test_ring_wraps(driver):
    driver.rings[0].offered = driver.rings[0].seen = 0
    for i in range(3 * driver.size + 1):
        assert driver.read(i, 1) == sector(i)


def test_index_wraps(image, machine_of, offload):
    """65,536 requests and some more: every free-running index goes round."""
    driver = _driver(machine_of, image, offload)
    ring = driver.rings[0]
    driver.header(IN, 1)
    ring.chain([(D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)])
    for _ in range(65536 // 16 + 2):
        for _ in range(16):
            ring.offer(0)
        ring.ring()
        assert len(ring.take()) == 16
    assert driver.read(9, 1) == sector(9)


def _driver(machine_of, image, mode, **options):
    machine = machine_of(image, mode, **options.pop("disk", {}))
    return BlkDriver(machine, machine.devices[0], **options)


def test_several_queues(image, machine_of, offload):
    driver = _driver(machine_of, image, offload, disk={"queues": 4})
    for queue in (3, 0, 2, 1):
        assert driver.read(queue + 30, 1, queue) == sector(queue + 30)
    assert [counters(driver, q).entry.handled for q in range(4)] == [1, 1, 1, 1]


# What both halves refuse with a status

@pytest.mark.parametrize("kind, at, parts, status", [
    (IN, 4096, [(D.DATA, 512, WRITE)], Status.IOERR),
    (IN, 4095, [(D.DATA, 1024, WRITE)], Status.IOERR),
    (IN, 2**64 - 1, [(D.DATA, 512, WRITE)], Status.IOERR),
    (IN, 0, [(D.DATA, 100, WRITE)], Status.IOERR),
    (OUT, 4096, [(D.DATA, 512, 0)], Status.IOERR),
    (99, 0, [(D.DATA, 512, WRITE)], Status.UNSUPP),
    (RequestType.DISCARD, 0, [(D.DATA, 15, 0)], Status.IOERR),
    (RequestType.DISCARD, 0, [(D.DATA, 16 * 17, 0)], Status.IOERR),
], ids=["past the end", "across the end", "wraps", "no sector", "write past the end", "unknown",
        "half a range", "too many ranges"])
def test_refused(driver, kind, at, parts, status):
    driver.request(kind, at, parts)
    # the status is no part of the length where there is room before it that was not written (2.7.8.2)
    assert driver.rings[0].take() == [(0, int(not parts[0][2] & WRITE))] and driver.status() == status
    assert not driver.needs_reset
    assert driver.read(1, 1) == sector(1)       # and goes on


def test_write_zeroes_and_discard(driver, image):
    for kind, at in ((RequestType.WRITE_ZEROES, 8), (RequestType.DISCARD, 16)):
        driver.memory.write(D.DATA, struct.pack("<QII", at, 4, 0))
        driver.request(kind, 0, [(D.DATA, 16, 0)])
        assert driver.rings[0].take() == [(0, 1)] and driver.status() == Status.OK
        assert driver.read(at, 4) == bytes(4 * SECTOR)
        assert driver.read(at + 4, 1) == sector(at + 4)


@pytest.mark.parametrize("features, lasts", [(0, True), (FLUSH, False)], ids=["no flush", "flush"])
def test_writes_last_for_a_driver_that_cannot_flush(image, machine_of, offload, ring, features, lasts):
    """5.2.6.2: what it has seen completed is on the disk; by the submission, as a power cut would tell."""
    driver = _driver(machine_of, image, offload, features=features, disk={"asynchronous": "on"})
    uring = driver.device.queues[0].uring
    driver.write(3, b"w" * 512)
    submitted = [entry for entry in uring.state.rings[int(uring.wiring.polled)].sqe
                 if entry.opcode == IORING_OP_WRITE and entry.fd == FILE_IO]
    assert [entry.rw_flags for entry in submitted] == [os.RWF_DSYNC if lasts else 0]


def test_read_only(image, machine_of, offload):
    driver = _driver(machine_of, image, offload, disk={"read_only": True})
    with pytest.raises(OSError):
        driver.write(0, b"x" * 512)
    assert driver.status() == Status.IOERR and image.read_bytes()[:512] == sector(0)


# Hostile chains: what the specification forbids ends in NEEDS_RESET, the same way in both halves

HEAD, DATA, END = (D.HEADER, 16, 0), (D.DATA, 512, WRITE), (D.STATUS, 1, WRITE)
TABLE = D.DATA + 0x10000
RAM = 4 << 20


def loop(ring):
    ring.put(0, D.HEADER, 16, NEXT, 1)
    ring.put(1, D.DATA, 512, NEXT | WRITE, 1)


def self_loop(ring):
    ring.put(0, D.HEADER, 16, NEXT, 0)


def next_outside(ring):
    """What is behind the table is not taken for a part of it."""
    ring.chain([HEAD, DATA, END])
    ring.put(0, D.HEADER, 16, NEXT, 16)
    ring.put(16, D.DATA, 512, NEXT | WRITE, 2)


def next_far_outside(ring):
    ring.put(0, D.HEADER, 16, NEXT, 0xffff)


def zero_length(ring):
    ring.chain([HEAD, (D.DATA, 0, WRITE), END])


def zero_length_beside_others(ring):
    ring.chain([HEAD, DATA, (D.DATA, 0, WRITE), END])


def readable_after_writable(ring):
    ring.chain([HEAD, DATA, (D.DATA, 512, 0), END])


def outside_ram(ring):
    ring.chain([HEAD, (RAM, 512, WRITE), END])


def across_the_end(ring):
    ring.chain([HEAD, (RAM - 511, 512, WRITE), END])


def wraps(ring):
    ring.chain([HEAD, (2**64 - 256, 512, WRITE), END])


def in_the_hole(ring):
    ring.chain([HEAD, (0xd0000000, 512, WRITE), END])


def huge(ring):
    ring.chain([HEAD, (D.DATA, 0xffffffff, WRITE), END])


def header_outside(ring):
    ring.chain([(2**64 - 8, 16, 0), DATA, END])


def status_outside(ring):
    ring.chain([HEAD, DATA, (RAM, 1, WRITE)])


def no_status(ring):
    ring.chain([HEAD])


def short_header(ring):
    ring.chain([(D.HEADER, 15, 0), END])


def indirect_in_indirect(ring):
    ring.chain([HEAD, DATA, END], table=TABLE + 0x1000)
    ring.put(0, TABLE + 0x1000, 48, INDIRECT, table=TABLE)
    ring.put(0, TABLE, 16, INDIRECT)


def indirect_in_itself(ring):
    ring.put(0, TABLE, 16, INDIRECT, table=TABLE)
    ring.put(0, TABLE, 16, INDIRECT)


def indirect_odd_length(ring):
    ring.chain([HEAD, DATA, END], table=TABLE)
    ring.put(0, TABLE, 47, INDIRECT)


def indirect_and_a_byte(ring):
    ring.chain([HEAD, DATA, END], table=TABLE)
    ring.put(0, TABLE, 49, INDIRECT)


def indirect_empty(ring):
    ring.put(0, TABLE, 0, INDIRECT)


def indirect_with_next(ring):
    ring.chain([HEAD, DATA, END], table=TABLE)
    ring.put(0, TABLE, 48, INDIRECT | NEXT, 1)


def indirect_outside(ring):
    ring.put(0, RAM - 16, 48, INDIRECT)


def indirect_wraps(ring):
    ring.put(0, 2**64 - 16, 48, INDIRECT)


def indirect_outside_behind_the_chain(ring):
    """The entries that the chain has are inside."""
    ring.chain([HEAD, DATA, END], table=RAM - 48)
    ring.put(0, RAM - 48, 64, INDIRECT)


def indirect_loop(ring):
    ring.put(0, D.HEADER, 16, NEXT, 1, table=TABLE)
    ring.put(1, D.DATA, 512, NEXT | WRITE, 1, table=TABLE)
    ring.put(0, TABLE, 32, INDIRECT)


HOSTILE = [loop, self_loop, next_outside, next_far_outside, zero_length, zero_length_beside_others,
           readable_after_writable, outside_ram, across_the_end, wraps, in_the_hole, huge, header_outside,
           status_outside, no_status, short_header, indirect_in_indirect, indirect_in_itself, indirect_odd_length,
           indirect_and_a_byte, indirect_empty, indirect_with_next, indirect_outside,
           indirect_outside_behind_the_chain, indirect_wraps, indirect_loop]


@pytest.mark.parametrize("trap", HOSTILE, ids=lambda trap: trap.__name__)
def test_hostile_chain(driver, trap):
    ring = driver.rings[0]
    driver.header(IN, 1)
    trap(ring)
    ring.offer(0)
    assert ring.ring() == 0             # nothing is handled of it, and nothing written
    assert ring.take() == [] and driver.needs_reset
    assert driver.status() == 0xff
    ring.ring()                         # nor later
    assert ring.take() == []
    driver.start()                      # until the driver has reset the device
    assert driver.read(5, 1) == sector(5)


def test_nothing_more_before_a_reset(driver):
    """VIRTIO 1.2, 2.1.2: not even what the driver has mended meanwhile."""
    ring = driver.rings[0]
    driver.header(IN, 1)
    zero_length(ring)
    ring.offer(0)
    ring.ring()
    assert driver.needs_reset
    ring.chain([HEAD, DATA, END])
    assert ring.ring() == 0 and ring.take() == [] and driver.status() == 0xff


def test_good_requests_before_a_bad_one(driver):
    """They are completed and seen; the bad one is where it stops."""
    ring = driver.rings[0]
    driver.header(IN, 1)
    ring.chain([HEAD, DATA, END])
    for head in (0, 0, 16, 0):
        ring.offer(head)
    ring.ring()
    assert ring.take() == [(0, 513), (0, 513)] and driver.needs_reset
    assert driver.registers.read("interrupt_status") == 3       # used buffers, configuration change


def test_not_before_driver_ok(driver):
    """VIRTIO 1.2, 3.1.1: a doorbell before DRIVER_OK is not served until then."""
    ring = driver.rings[0]
    driver.registers.write("status", 0)
    driver.start(ready=False)
    ring = driver.rings[0]
    driver.header(IN, 1)
    ring.chain([HEAD, DATA, END])
    ring.offer(0)
    assert ring.ring() == 0 and ring.take() == []
    driver.make_ready()
    assert ring.take() == [(0, 513)]
    assert driver.read(5, 1) == sector(5) and counters(driver).entry.handled == offloaded(driver)


def test_a_guest_cannot_fill_the_log(driver, caplog):
    for _ in range(50):
        driver.start()
        driver.rings[0].offer(16)
        driver.rings[0].ring()
    assert len(caplog.records) < 25


def test_head_outside_the_table(driver):
    driver.rings[0].offer(16)
    assert driver.rings[0].ring() == 0 and driver.needs_reset


def test_more_available_than_the_queue_holds(driver):
    ring = driver.rings[0]
    driver.header(IN, 1)
    ring.chain([HEAD, DATA, END])       # each of them is sound: all entries are 0
    driver.memory.write_u16(ring.avail + 2, driver.size + 1)
    assert ring.ring() == 0 and driver.needs_reset and ring.take() == []


def test_malformed_behind_one_in_flight(image, machine_of, mode_of_device, ring):
    """What was asked for before it is done and used, whoever serves."""
    driver = _driver(machine_of, image, mode_of_device, disk={"asynchronous": "on"})
    for i in range(20):
        driver.header(OUT, i)
        driver.memory.write(D.DATA, bytes([i + 1]) * 512)
        driver.rings[0].chain([HEAD, (D.DATA, 512, 0), END])
        for head in (0, 5):
            driver.rings[0].put(5, 0, 0)
            driver.rings[0].offer(head)
        assert driver.rings[0].ring() == 0 and driver.needs_reset
        assert driver.rings[0].take() == [(0, 1)] and driver.status() == 0
        assert image.read_bytes()[512 * i:512 * (i + 1)] == bytes([i + 1]) * 512
        driver.start()


def test_done_is_shown_though_a_rule_is_broken_behind_it(image, machine_of, ring, monkeypatch):
    """A handler that declines has published what it completed (PROTOCOL.md, "A decline")."""
    monkeypatch.setattr(Collector, "start", lambda self: None)      # the doorbell alone collects
    driver = _driver(machine_of, image, "host", disk={"asynchronous": "on"})
    queue, seen, notified = driver.rings[0], [], driver.device.notified
    driver.header(OUT, 1)
    queue.chain([HEAD, (D.DATA, 512, 0), END])
    queue.offer(0)
    assert driver.registers.write("queue_notify", 0) != 0
    driver.device.queues[0].uring.wait()

    def watch(index):
        seen.append(queue.used_index())
        notified(index)
    driver.device.notified = watch
    driver.memory.write_u16(queue.avail + 2, driver.size + 2)
    assert driver.registers.write("queue_notify", 0) == 0 and driver.needs_reset and seen == [1]


def test_indirect_that_was_not_negotiated(image, machine_of, mode_of_device):
    driver = _driver(machine_of, image, mode_of_device, features=0)
    driver.header(IN, 1)
    driver.rings[0].chain([HEAD, DATA, END], table=TABLE)
    driver.rings[0].put(0, TABLE, 48, INDIRECT)
    driver.rings[0].offer(0)
    assert driver.rings[0].ring() == 0 and driver.needs_reset


def test_registers_rewritten_while_live(driver):
    """The posted registers count only when the queue is made ready."""
    driver.registers.write("queue_num", 0xffff)
    driver.registers.write("queue_desc_low", 0xfffffff0)
    driver.registers.write("queue_ready", 1)
    assert driver.read(11, 1) == sector(11)


@pytest.mark.parametrize("change", [dict(size=0), dict(size=3), dict(size=512), dict(desc=0x10008),
                                    dict(avail=0x11001), dict(used=0x12002), dict(desc=RAM - 16),
                                    dict(used=2**64 - 64), dict(avail=0xd0000000)], ids=str)
def test_unsound_setup(driver, change):
    ring = driver.rings[0]
    driver.registers.write("queue_sel", 0)
    driver.registers.write("queue_ready", 0)
    for name, value in change.items():
        setattr(ring, name, value)
    assert driver.place(ring) == 0 and driver.needs_reset


def test_doorbell_of_no_queue(driver):
    for value in (1, 15, 16, 0xffffffff):
        assert driver.registers.write("queue_notify", value) == 0
    assert driver.read(2, 1) == sector(2)


def test_reset_with_requests_waiting(driver):
    ring = driver.rings[0]
    driver.header(IN, 1)
    ring.chain([HEAD, DATA, END])
    ring.offer(0)
    driver.registers.write("status", 0)
    assert ring.ring() == 0 and ring.take() == [] and driver.status() == 0xff


# What is declined, and why

def decline_of(driver, trap_or_request):
    before = list(counters(driver).entry.declined)
    assert trap_or_request() == 0
    after = list(counters(driver).entry.declined)
    return [reason.name for reason in driver.device.layout.reasons if after[reason] != before[reason]]


def test_reasons(image, machine_of, offload):
    driver = _driver(machine_of, image, offload)
    ask = {
        "OTHER_REQUEST": lambda: driver.request(99, 0),
        "OUT_OF_RANGE": lambda: driver.request(IN, 4096, [(D.DATA, 512, WRITE)]),
        "FRAMING": lambda: driver.request(IN, 0, [(D.DATA, 100, WRITE)]),
        "OUTSIDE_RAM": lambda: driver.request(IN, 0, [(RAM, 512, WRITE)]),
    }
    assert {name: decline_of(driver, request) for name, request in ask.items()} == {n: [n] for n in ask}


def test_no_ring(image, machine_of, offload):
    """Where there is no io_uring, all that needs it is declined, and served."""
    driver = _driver(machine_of, image, offload, disk={"asynchronous": "off"})
    assert decline_of(driver, lambda: driver.request(OUT, 0, [(D.DATA, 512, 0)])) == [
        "PUNTED" if offload == "on" and driver.device.state.disk.writes == Writes.AT_ONCE else "NO_RING"]
    assert decline_of(driver, lambda: driver.request(RequestType.FLUSH, 0)) == ["NO_RING"]
    assert driver.status() == 0


def test_writes_of_a_read_only_disk_are_declined(image, machine_of, offload):
    driver = _driver(machine_of, image, offload, disk={"read_only": True})
    assert decline_of(driver, lambda: driver.request(OUT, 0, [(D.DATA, 512, 0)])) == ["READ_ONLY"]
    assert driver.status() == Status.IOERR


def test_held_by_user(image, machine_of, offload):
    driver = _driver(machine_of, image, offload)
    driver.device.queues[0].ownership.take()
    assert decline_of(driver, lambda: driver.request(IN, 0, [DATA])) == ["HELD_BY_USER"]
    queue = driver.device.state.queue[0]
    assert (queue.entry.handled, queue.user.handled) == (0, 1)      # by who holds it alone


def test_more_than_a_handler_takes_on(tmp_path, machine_of, offload):
    """It is no matter of this visit's budget: the next one would say the same."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 256 << 20)
    machine = machine_of(path, offload, memory=8 << 20)
    driver = BlkDriver(machine, machine.devices[0])
    parts = [(0x100000, 6 << 20, WRITE)] * 12
    assert decline_of(driver, lambda: driver.request(IN, 0, parts)) == ["TOO_LARGE"]


def test_budget(tmp_path, machine_of, offload):
    """One exit copies no more than so much; the Python half goes on."""
    path = tmp_path / "large"
    path.write_bytes(bytes(10 << 20))
    driver = _driver(machine_of, path, offload, disk={"asynchronous": "off"})
    assert decline_of(driver, lambda: driver.request(IN, 0, [(D.DATA, 1 << 20, WRITE)] * 9)) == ["BUDGET"]
    assert driver.status() == 0 and driver.rings[0].take() == [(0, (9 << 20) + 1)]


@pytest.mark.parametrize("ring", [False, True])
def test_not_resident(image, machine_of, ring, offload):
    """Pages that the page cache lacks: read through the ring, or declined where there is none."""
    fd = os.open(image, os.O_RDWR)
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    driver = _driver(machine_of, image, offload, disk={"asynchronous": "on" if ring else "off"})
    page = ffi.new("uint8_t[1]")
    lib.resident(driver.device.image.address + 3500 * SECTOR // 4096 * 4096, 4096, page)
    if page[0] & 1:
        pytest.skip("this file system keeps its pages in memory")
    # a fast disk may have read ahead by the time that the page is looked for: not every time
    if ring:
        for at in range(3500, 0, -256):
            assert driver.request(IN, at, [DATA]) != 0
            assert driver.memory.read(D.DATA, 512) == sector(at)
        assert counters(driver).entry.handled == 14 and driver.device.queues[0].uring.flight.completed >= 1
    else:
        for at in range(3500, 0, -256):
            driver.request(IN, at, [DATA])
            assert driver.memory.read(D.DATA, 512) == sector(at)
        assert counters(driver).entry.declined[driver.device.layout.reasons.NOT_RESIDENT]


def test_declined_leaves_the_queue_as_it_was(image, machine_of, offload):
    """Between the handler's no and the Python half's yes, nothing in the rings has moved."""
    driver = _driver(machine_of, image, offload, disk={"asynchronous": "off"})
    ring, seen = driver.rings[0], []
    serve = driver.device.serve

    def watch(queue):
        seen.append((ring.used_index(), driver.status(), queue.state.position.next_avail,
                     queue.state.position.next_used))
        return serve(queue)
    driver.device.serve = watch
    driver.write(0, b"y" * 512)
    assert seen == [(0, 0xff, 0, 0)]


# Interrupts and events

@pytest.fixture
def eventful(mode_of_device, image, machine_of):
    return _driver(machine_of, image, mode_of_device, features=EVENT_IDX | INDIRECT_DESC)


def test_no_interrupt_flag(driver, interrupts):
    """In `on` a doorbell's claim interrupts, whatever the driver wants (PROTOCOL.md)."""
    claimed = driver.device.mode == "on"
    driver.rings[0].set_no_interrupt(True)
    driver.read(0, 1)
    assert interrupts(driver.machine) == claimed
    driver.rings[0].set_no_interrupt(False)
    driver.read(0, 1)
    assert interrupts(driver.machine) == claimed + 1
    assert driver.registers.read("interrupt_status") == 1
    driver.registers.write("interrupt_ack", 1)
    assert driver.registers.read("interrupt_status") == 0


def test_used_event(eventful, interrupts):
    ring = eventful.rings[0]
    taken = []
    for wanted in (0, 5, 5, 5, 5, 5):
        ring.set_used_event(wanted)
        eventful.read(0, 1)
        taken.append(interrupts(eventful.machine))
    assert taken == ([1, 2, 3, 4, 5, 6] if eventful.device.mode == "on" else [1, 1, 1, 1, 1, 2])


def test_avail_event(eventful):
    for i in range(1, 20):
        eventful.read(0, 1)
        assert eventful.rings[0].avail_event() == i


def test_configuration_change(driver):
    """The generation moves and the driver is told (2.5.1), once it listens."""
    generation = driver.registers.read("config_generation")
    driver.device.config_changed()
    assert driver.registers.read("config_generation") == generation + 1
    assert driver.registers.read("interrupt_status") == 2
    driver.registers.write("status", 0)
    driver.device.config_changed()
    assert driver.registers.read("interrupt_status") == 0


def test_back_and_forth(image, machine_of, offload):
    """The indices go with the queue through any number of hand-overs."""
    machine = machine_of(image, offload)
    driver = BlkDriver(machine, machine.devices[0])
    device = machine.devices[0]
    for i in range(60):
        machine.set_offload(device, ("off", offload)[i % 2])
        assert driver.read(i, 1) == sector(i)
    assert counters(driver).entry.handled == counters(driver).user.handled == 30
    assert device.queues[0].ownership.holder == Side.KERNEL
