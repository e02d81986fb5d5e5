"""Requests in flight: none completed twice, none forgotten; what fails is done again."""

import os
import struct
import time

import pytest

from tools.driver import INDIRECT, INDIRECT_DESC, NEXT, WRITE, BlkDriver
from vmm.devmodel.devices.blk import SECTOR, RequestType, Status
from vmm.devmodel.uring import ENTRIES, TAGS, TagState
from vmm.devmodel.virtqueue import Side
from vmm.errors import UserError
from vmm.sync._shared import ffi
from vmm.virtqueue import uring

D = BlkDriver
F_FLUSH = 1 << 9
IN, OUT, FLUSH = RequestType.IN, RequestType.OUT, RequestType.FLUSH


@pytest.fixture
def driver_of(image, machine_of, ring):
    def make(size=16, mode="host", features=INDIRECT_DESC, **disk):
        disk.setdefault("asynchronous", "on")
        machine = machine_of(image, mode, memory=16 << 20, queue_size=256, **disk)
        return BlkDriver(machine, machine.devices[0], features=features, size=size)
    return make


def uring_of(driver):
    return driver.device.queues[0].uring


def offer_writes(driver, count, ring_now=True):
    """`count` writes of a sector each, indirect, sector i getting the byte i; their status bytes' place."""
    ring, table, heads, status, data = driver.rings[0], 0x100000, 0x180000, 0x1c0000, 0x200000
    for i in range(count):
        driver.memory.write(heads + 16 * i, struct.pack("<IIQ", OUT, 0, i))
        driver.memory.write(data + 512 * i, bytes([i % 256]) * 512)
        driver.memory.write(status + i, b"\xff")
        at = table + 64 * i
        ring.put(0, heads + 16 * i, 16, NEXT, 1, table=at)
        ring.put(1, data + 512 * i, 512, NEXT, 2, table=at)
        ring.put(2, status + i, 1, WRITE, 0, table=at)
        ring.put(i, at, 48, INDIRECT)
        ring.offer(i)
    if ring_now:
        ring.ring()
    return status


@pytest.mark.parametrize("count", [1, ENTRIES - 2, ENTRIES, TAGS, TAGS + 1, 256])
def test_more_than_the_ring_holds(driver_of, image, count):
    """What does not fit waits for what is in flight: nothing is declined, all is done once.  Past the
    page cache, as the writes would be over as they are submitted otherwise."""
    driver = driver_of(size=256, cache="none")
    status = offer_writes(driver, count)
    used = driver.rings[0].take()
    assert sorted(head for head, _ in used) == list(range(count)) and {n for _, n in used} == {1}
    assert driver.memory.read(status, count) == bytes(count)
    assert image.read_bytes()[:count * SECTOR] == b"".join(bytes([i % 256]) * 512 for i in range(count))
    entry = driver.device.state.queue[0].entry
    assert entry.handled == count and not any(entry.declined)
    assert uring_of(driver).flying == 0


def test_flush_of_many_writes(driver_of, image):
    driver = driver_of(size=256)
    offer_writes(driver, 40)
    driver.rings[0].take()
    driver.rings[0].chain([(D.HEADER, 16, 0), (D.STATUS, 1, WRITE)], first=100)
    driver.header(FLUSH, 0)
    driver.rings[0].offer(100)
    assert driver.rings[0].ring() and driver.status() == 0


def test_stale_completions_count_for_nothing(driver_of):
    """A completion whose serial or tag is not of a request in flight."""
    driver = driver_of()
    driver.write(0, b"x" * 512)
    it = uring_of(driver)
    driver.device.queues[0].ownership.take()
    words, before = it._words, it.flight.completed
    for data in (0 | 0xdead << 32, 5 | 1 << 32, TAGS | 1 << 32, 0xffffffff):
        tail = words[4][0]
        raw = ffi.cast("uint64_t *", it._cqes + 16 * (tail % 128))
        raw[0], raw[1] = data, 512
        words[4][0] = tail + 1
        assert it.pending and list(it.completions()) == [] and not it.pending
    assert it.flight.completed == before


def test_a_read_that_comes_back_short_is_an_error(driver_of, image):
    """The image was cut behind our back: the ring's answer is short, the Python half asks again, and
    the driver is told."""
    driver = driver_of()
    os.truncate(image, 100 * SECTOR)
    driver.request(IN, 4000, [(D.DATA, 512, WRITE)])
    assert driver.status() == Status.IOERR and driver.rings[0].take() == [(0, 0)]  # 2.7.8.2: a gap is before it
    entry = driver.device.state.queue[0]
    assert entry.entry.declined[driver.device.layout.reasons.IO_FAILED] == 1 and entry.user.handled == 1


@pytest.mark.parametrize("kind", [RequestType.DISCARD, RequestType.WRITE_ZEROES])
def test_ranges(driver_of, image, kind):
    driver = driver_of(features=INDIRECT_DESC | F_FLUSH)
    driver.memory.write(D.DATA, struct.pack("<QII", 16, 8, 0))
    assert driver.request(kind, 0, [(D.DATA, 16, 0)])
    assert driver.status() == 0 and image.read_bytes()[16 * SECTOR:24 * SECTOR] == bytes(8 * SECTOR)
    for sector, count, flags, status in ((4090, 8, 0, Status.IOERR), (0, 8, 2, Status.UNSUPP)):
        driver.memory.write(D.DATA, struct.pack("<QII", sector, count, flags))
        assert driver.request(kind, 0, [(D.DATA, 16, 0)]) == 0 and driver.status() == status


def test_reset_waits_for_what_is_in_flight(driver_of, image):
    """After a reset, no request of before touches guest memory (2.4)."""
    driver = driver_of(size=256, cache="none")
    ring = driver.rings[0]
    status = offer_writes(driver, 120, ring_now=False)
    ring.registers.write("queue_notify", 0)
    driver.registers.write("status", 0)
    assert uring_of(driver).flying == 0
    seen = driver.memory.read(status, 120), ring.used_index()
    time.sleep(0.05)
    assert (driver.memory.read(status, 120), ring.used_index()) == seen
    driver.start()
    assert driver.read(3000, 1) == (3000).to_bytes(8, "little") * 64


def test_taken_over_while_in_flight(driver_of, image):
    """Off and on again with requests under way: each is completed once, by whoever is there."""
    driver = driver_of(size=256, cache="none")
    ring = driver.rings[0]
    done = []
    for round_ in range(12):
        status = offer_writes(driver, 100, ring_now=False)
        ring.registers.write("queue_notify", 0)
        driver.machine.set_offload(driver.device, ("off", "host")[round_ % 2])
        ring.settle()
        done.append(sorted(head for head, _ in ring.take()))
        assert driver.memory.read(status, 100) == bytes(100)
    assert done == [list(range(100))] * 12


def test_a_tag_is_free_or_flying(driver_of):
    driver = driver_of()
    driver.write(0, b"x" * 512)
    it = uring_of(driver)
    stack = [it.flight.stack[i] for i in range(it.flight.free)]
    assert sorted(stack) == list(range(TAGS)) and all(t.state == TagState.FREE for t in it.flight.tag)


@pytest.mark.parametrize("cache", ["writeback", "writethrough", "none"])
@pytest.mark.parametrize("mode", ["off", "host"])
def test_cache_modes(driver_of, image, mode, cache):
    driver = driver_of(mode=mode, cache=cache)
    driver.write(8, b"q" * 4096)
    assert driver.read(8, 8) == b"q" * 4096 and image.read_bytes()[4096:8192] == b"q" * 4096
    assert bool(driver.device.offered & 1 << 9) == (cache != "writethrough")
    # this driver did not negotiate FLUSH, so that a completed write must last
    assert driver.device.state.disk.durable == 1


def test_unaligned_past_the_page_cache(driver_of):
    driver = driver_of(cache="none")
    driver.memory.write(D.DATA + 3, b"u" * 512)
    assert driver.request(OUT, 5, [(D.DATA + 3, 512, 0)]) == 0
    assert driver.status() == 0
    assert driver.device.state.queue[0].entry.last_reason == driver.device.layout.reasons.UNALIGNED
    driver.rings[0].take()
    assert driver.read(5, 1) == b"u" * 512


def test_no_ring_to_be_had(image, machine_of, monkeypatch):
    """A kernel without it: `auto` falls back to declining and says so, `on` is refused."""
    def refuse(self, *_arguments):
        raise uring.UringUnavailable("io_uring, setup: Invalid argument; wanted Linux 6.5 or later")
    monkeypatch.setattr(uring.Uring, "_setup", refuse)
    machine = machine_of(image, "auto")
    device = machine.devices[0]
    assert "6.5" in machine.choices["disk0"] and device.mode == "host"
    driver = BlkDriver(machine, device)
    driver.write(1, b"w" * 512)
    assert driver.read(1, 1) == b"w" * 512
    machine.close()
    with pytest.raises(UserError, match="6.5"):
        machine_of(image, "host", asynchronous="on")


def test_one_cpu(image, machine_of, ring, monkeypatch):
    """There the thread that polls the ring would take turns with the guest."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    machine = machine_of(image, "auto")
    assert machine.devices[0].mode == "host" and "one CPU" in machine.choices["disk0"]


def test_why_not(ring):
    assert uring.why_not() == ""


def test_holder_alone_writes(driver_of):
    """With the kernel half at the queue, userspace's view of what is in flight is read-only."""
    driver = driver_of()
    it = uring_of(driver)
    assert driver.device.queues[0].ownership.holder == Side.KERNEL
    with pytest.raises(AttributeError):
        it.flight.free = 3
