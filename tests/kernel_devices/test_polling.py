"""A busy queue is looked at by the ring's thread, and no doorbell is asked for."""

import struct
from functools import partial
from time import sleep

import pytest

from tests import waiting
from tools.driver import EVENT_IDX, WRITE, BlkDriver
from vmm.devmodel.devices.blk import SECTOR, RequestType
from vmm.virtio.virtio_device import RING_PACKED

wait_for = partial(waiting.wait_for, timeout_s=20)

IN, D = RequestType.IN, BlkDriver
IDLE_US = 300_000       # longer than Python takes from one doorbell to the next
BUSY = 40               # doorbells that begin it, also where the ring's thread sleeps (polling.h)
NO_NOTIFY, DISABLE = 1, 1


@pytest.fixture(params=["flags", "event", "packed", "packed-event"])
def features(request):
    return EVENT_IDX * ("event" in request.param) | RING_PACKED * ("packed" in request.param)


@pytest.fixture
def disk_with(image, machine_of, ring, bpf):
    def make(features=0, poll="on", idle_us=IDLE_US):
        machine = machine_of(image, "on", asynchronous="on", poll=poll, idle_us=idle_us,
                             packed=bool(features & RING_PACKED))
        return BlkDriver(machine, machine.devices[0], features)
    return make


def flight(disk):
    return disk.device.queues[0].uring.flight


def looks(disk):
    return disk.device.queues[0].uring.looks


def doorbells(disk):
    return disk.device.state.queue[0].entry.doorbells


def offer(disk, sector):
    """A read, without a doorbell."""
    disk.memory.write(D.HEADER, struct.pack("<IIQ", IN, 0, sector))
    disk.memory.write(D.DATA, bytes(SECTOR))
    disk.rings[0].request([(D.HEADER, 16, 0), (D.DATA, SECTOR, WRITE), (D.STATUS, 1, WRITE)])


def done(disk, sector):
    used = []
    wait_for(lambda: used.extend(disk.rings[0].take()) or used)
    return disk.memory.read(D.DATA, SECTOR) == sector.to_bytes(8, "little") * 64


def busy(disk):
    """Ring until the queue is polled."""
    for sector in range(BUSY):
        if not looks(disk).polling:
            offer(disk, sector)
            disk.registers.write("queue_notify", 0)
            assert done(disk, sector)
    assert looks(disk).polling


def asks(disk):
    """What the device has asked for: whether for a doorbell at the next request."""
    setup, position = disk.device.state.queue[0].setup, disk.device.state.queue[0].position
    if setup.packed:
        flags = disk.memory.read_u16(setup.used + 2)
        return flags != DISABLE and (flags == 0 or disk.memory.read_u16(setup.used) == position.next_avail)
    if setup.event_index:
        return disk.memory.read_u16(setup.used + 4 + 8 * setup.size) == position.next_avail
    return disk.memory.read_u16(setup.used) != NO_NOTIFY


def test_requests_without_doorbells(disk_with, features):
    disk = disk_with(features)
    disk.rings[0].set_no_interrupt(True)
    busy(disk)
    rung = doorbells(disk)
    for sector in range(50):
        offer(disk, sector)
        assert done(disk, sector)
    assert doorbells(disk) == rung and not asks(disk)
    wait_for(lambda: not looks(disk).polling)
    wait_for(lambda: asks(disk))
    assert flight(disk).found == 50 and flight(disk).rest_ns == 0
    offer(disk, 3)
    sleep(0.01)
    assert not disk.rings[0].take()
    disk.registers.write("queue_notify", 0)
    assert done(disk, 3)


def test_nobody_polls(disk_with):
    disk = disk_with(poll="off")
    for sector in range(2 * BUSY):
        disk.read(sector, 1)
    assert not looks(disk).polling and not flight(disk).nop


def test_a_rest_where_nothing_comes(disk_with):
    """Doubled when that is so again."""
    disk = disk_with(poll="auto", idle_us=50_000)
    rests = []
    for _ in range(2):
        wait_for(lambda: disk.read(0, 1) and looks(disk).polling)
        wait_for(lambda: not looks(disk).polling)
        rests.append(flight(disk).rest_ns)
    assert rests[0] >= 1_000_000 and rests[1] == 2 * rests[0]


@pytest.mark.parametrize("change", ["decline", "take", "off", "reset"])
def test_what_ends_it(disk_with, features, change):
    """Doorbells are asked for by whoever has the queue then, and nothing waits for ever."""
    disk = disk_with(features)
    busy(disk)
    queue = disk.device.queues[0]
    if change == "decline":
        disk.memory.write(D.HEADER, struct.pack("<IIQ", 99, 0, 0))
        disk.rings[0].request([(D.HEADER, 16, 0), (D.STATUS, 1, WRITE)])
        wait_for(disk.rings[0].take)
    elif change == "take":
        with queue.ownership:
            offer(disk, 1)
        disk.registers.write("queue_notify", 0)
        assert done(disk, 1)
    elif change == "off":
        disk.machine.set_offload(disk.device, "off")
    else:
        disk = BlkDriver(disk.machine, disk.device, features)
    if change != "take":
        assert not looks(disk).polling and asks(disk)
        offer(disk, 7)
        disk.registers.write("queue_notify", 0)
        assert done(disk, 7)


def test_interrupts_are_raised_by_the_ring(disk_with):
    """Behind the completion that they are for."""
    disk = disk_with()
    busy(disk)
    gsi = disk.device.line(0).gsi
    for sector in range(5):
        before = disk.machine.interrupts_of(gsi)
        offer(disk, sector)
        assert done(disk, sector)
        wait_for(lambda before=before: disk.machine.interrupts_of(gsi) > before)


def test_none_is_raised_that_the_driver_does_not_want(disk_with):
    disk = disk_with()
    busy(disk)
    disk.memory.write_u16(disk.device.state.queue[0].setup.avail, 1)    # VRING_AVAIL_F_NO_INTERRUPT
    disk.read(0, 1)
    before = disk.machine.interrupts_of(disk.device.line(0).gsi)
    for sector in range(20):
        offer(disk, sector)
        assert done(disk, sector)
    assert disk.machine.interrupts_of(disk.device.line(0).gsi) == before


def test_what_looks_found_is_counted(disk_with):
    """In all, whatever has ended since; not what a doorbell was rung for."""
    disk = disk_with(idle_us=50_000)
    disk.rings[0].set_no_interrupt(True)
    entry, found = disk.device.state.queue[0].entry, 0
    for _ in range(2):
        busy(disk)
        assert entry.polled == found
        for sector in range(10):
            offer(disk, sector)
            assert done(disk, sector)
        wait_for(lambda: not looks(disk).polling)
        assert flight(disk).found == 10
        found += 10
        wait_for(lambda wanted=found: entry.polled == wanted)
    assert entry.polled < entry.handled


def test_a_driver_that_rings_whatever_it_is_asked_for(disk_with):
    """What it rings for is left to the looks: its doorbells are counted, and take nothing over."""
    disk = disk_with()
    disk.rings[0].set_no_interrupt(True)
    busy(disk)
    entry, rung = disk.device.state.queue[0].entry, doorbells(disk)
    for sector in range(50):
        offer(disk, sector)
        disk.registers.write("queue_notify", 0)
        assert done(disk, sector)
    assert doorbells(disk) == rung + 50
    wait_for(lambda: entry.polled == 50)


def test_a_doorbell_while_userspace_holds_the_queue(disk_with):
    """It goes up, though the queue was looked at until then."""
    disk = disk_with()
    busy(disk)
    queue = disk.device.queues[0]
    declined = queue.state.entry.declined[disk.device.layout.reasons.HELD_BY_USER]
    with queue.ownership:
        offer(disk, 1)
        disk.registers.write("queue_notify", 0)
        assert queue.state.entry.declined[disk.device.layout.reasons.HELD_BY_USER] == declined + 1
    assert done(disk, 1)
