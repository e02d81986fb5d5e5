"""Requests of one look that go on from each other: one I/O, and each completed by itself."""

import os
import struct

import pytest

from tools.driver import WRITE, BlkDriver
from vmm.devmodel.devices.blk import SECTOR, RequestType, Status, Writes

IN, OUT, FLUSH = RequestType.IN, RequestType.OUT, RequestType.FLUSH
D = BlkDriver
SECTORS = 4096


@pytest.fixture
def disk(image, machine_of, offload, ring):
    """Past the page cache: everything goes through the ring."""
    machine = machine_of(image, offload, asynchronous="on", cache="none", poll="off")
    return quiet(BlkDriver(machine, machine.devices[0]))


def quiet(disk):
    """Without interrupts, which take entries of the ring's as well."""
    disk.rings[0].set_no_interrupt(True)
    return disk


def offer(disk, requests):
    """Each (type, sector, sectors), by five descriptors or less in all; one doorbell.  Returns statuses by head."""
    ring, head = disk.rings[0], 0
    heads = []
    for number, (kind, sector, sectors) in enumerate(requests):
        disk.memory.write(D.HEADER + 32 * number, struct.pack("<IIQ", kind, 0, sector))
        parts = [(D.HEADER + 32 * number, 16, 0)]
        if sectors:
            parts.append((D.DATA + 0x1000 * number, sectors * SECTOR, WRITE if kind == IN else 0))
        parts.append((D.STATUS + 0x400 + number, 1, WRITE))
        disk.memory.write(D.STATUS + 0x400 + number, b"\xff")
        ring.chain(parts, first=head)
        heads.append(head)
        head += len(parts)
    before = entries(disk)
    for first in heads:
        ring.offer(first)
    ring.ring()
    used = ring.take()
    assert sorted(each for each, _ in used) == heads
    return [disk.memory.read(D.STATUS + 0x400 + n, 1)[0] for n in range(len(requests))], entries(disk) - before


def entries(disk):
    """Submissions so far."""
    uring = disk.device.queues[0].uring
    return uring.flight.tail if uring else 0


def data(disk, number, sectors=1):
    return disk.memory.read(D.DATA + 0x1000 * number, sectors * SECTOR)


def sector(number):
    return number.to_bytes(8, "little") * 64


def test_reads(disk):
    assert offer(disk, [(IN, 7 + n, 1) for n in range(5)]) == ([0] * 5, 1)
    assert [data(disk, n) for n in range(5)] == [sector(7 + n) for n in range(5)]


def test_writes_of_several_sizes(disk, image):
    for n, sectors in enumerate((1, 3, 2)):
        disk.memory.write(D.DATA + 0x1000 * n, bytes([65 + n]) * sectors * SECTOR)
    assert offer(disk, [(OUT, 100, 1), (OUT, 101, 3), (OUT, 104, 2)]) == ([0] * 3, 1)
    assert image.read_bytes()[100 * SECTOR:106 * SECTOR] == b"A" * SECTOR + b"B" * 3 * SECTOR + b"C" * 2 * SECTOR


@pytest.mark.parametrize("requests, ios", [
    ([(IN, 7, 1), (IN, 9, 1), (IN, 10, 1)], 2),             # a gap
    ([(IN, 7, 1), (IN, 7, 1), (IN, 8, 1)], 2),              # the same twice
    ([(IN, 8, 1), (IN, 7, 1), (IN, 6, 1)], 3),              # backwards
    ([(IN, 7, 1), (OUT, 8, 1), (IN, 9, 1)], 3),             # not the same way
    ([(OUT, 7, 1), (FLUSH, 0, 0), (OUT, 8, 1)], 3),         # a flush between
    ([(FLUSH, 0, 0)] * 5, 1),
    ([(OUT, 7, 1), (FLUSH, 0, 0), (FLUSH, 0, 0), (OUT, 8, 1), (OUT, 9, 1)], 3)])
def test_where_one_ends(disk, requests, ios):
    assert offer(disk, requests) == ([0] * len(requests), ios)


def test_each_look_has_its_own(disk):
    assert offer(disk, [(IN, 7, 1)]) == ([0], 1) == offer(disk, [(IN, 8, 1)])


def test_what_comes_back_short_is_done_again_one_by_one(disk, image):
    """The file ends in the midst of it: those before the end are well, the others fail each by itself."""
    os.truncate(image, 4000 * SECTOR)
    statuses, _ = offer(disk, [(IN, 3998 + n, 1) for n in range(4)])
    assert statuses == [0, 0, Status.IOERR, Status.IOERR]
    assert [data(disk, n) for n in range(2)] == [sector(3998), sector(3999)]
    assert disk.device.state.queue[0].entry.handled == 0 and disk.device.state.queue[0].user.handled == 4


def test_a_declined_one_ends_it(disk):
    """What goes up is left as it is, and what came before it is done."""
    assert offer(disk, [(IN, 7, 1), (IN, 8, 1), (IN, SECTORS, 1), (IN, 9, 1)])[0] == [0, 0, Status.IOERR, 0]
    assert [data(disk, n) for n in (0, 1, 3)] == [sector(7), sector(8), sector(9)]


def test_more_than_a_list_has(image, machine_of, offload, ring):
    """100 buffers each: two of them are too many for one list."""
    machine = machine_of(image, offload, asynchronous="on", cache="none", queue_size=256, poll="off")
    disk = quiet(BlkDriver(machine, machine.devices[0], size=256))
    ring, heads = disk.rings[0], []
    before = entries(disk)
    for number in range(2):
        disk.memory.write(D.HEADER + 32 * number, struct.pack("<IIQ", IN, 0, 100 * number))
        parts = [(D.HEADER + 32 * number, 16, 0),
                 *((D.DATA + 0x10000 * number + SECTOR * n, SECTOR, WRITE) for n in range(100)),
                 (D.STATUS + 0x400 + number, 1, WRITE)]
        ring.chain(parts, first=110 * number)
        heads.append(110 * number)
    for head in heads:
        ring.offer(head)
    ring.ring()
    assert sorted(ring.take()) == [(head, 100 * SECTOR + 1) for head in heads] and entries(disk) - before == 2
    for number in range(2):
        assert disk.memory.read(D.DATA + 0x10000 * number, 100 * SECTOR) == b"".join(
            sector(100 * number + n) for n in range(100))


def test_writes_at_once(image, machine_of, offload, ring):
    """The native build's, which wait for the page cache."""
    machine = machine_of(image, offload)
    disk = BlkDriver(machine, machine.devices[0])
    machine.devices[0].state.disk.writes = Writes.AT_ONCE
    for n in range(5):
        disk.memory.write(D.DATA + 0x1000 * n, bytes([65 + n]) * SECTOR)
    assert offer(disk, [(OUT, 100 + n, 1) for n in range(5)]) == ([0] * 5, 0)
    assert image.read_bytes()[100 * SECTOR:105 * SECTOR] == b"".join(bytes([65 + n]) * SECTOR for n in range(5))
    state = disk.device.state.queue[0]
    assert (state.entry.handled, state.entry.assisted, state.user.handled) == (5, 5 * (offload == "on"), 0)


@pytest.fixture
def transfers(image, machine_of):
    """A disk of the Python half, and what it reads and writes: (offset, bytes)."""
    disk, found = BlkDriver(machine := machine_of(image), machine.devices[0]), []
    own = disk.device.image
    transfer = own._transfer

    def noted(call, buffers, offset):
        found.append((offset, sum(map(len, buffers))))
        transfer(call, buffers, offset)
    own._transfer = noted
    return disk, found


@pytest.mark.parametrize("requests, wanted", [
    ([(IN, 7 + n, 1) for n in range(5)], [(7 * SECTOR, 5 * SECTOR)]),
    ([(OUT, 100, 1), (OUT, 101, 3), (OUT, 104, 2)], [(100 * SECTOR, 6 * SECTOR)]),
    ([(IN, 7, 1), (IN, 9, 1), (IN, 10, 1)], [(7 * SECTOR, SECTOR), (9 * SECTOR, 2 * SECTOR)]),
    ([(OUT, 7, 1), (FLUSH, 0, 0), (OUT, 8, 1)], [(7 * SECTOR, SECTOR), (8 * SECTOR, SECTOR)])])
def test_of_the_python_half(transfers, requests, wanted):
    disk, found = transfers
    assert offer(disk, requests)[0] == [0] * len(requests) and found == wanted


def test_of_the_python_half_that_fails(transfers, image):
    disk, found = transfers
    os.truncate(image, 4000 * SECTOR)
    assert offer(disk, [(IN, 3998 + n, 1) for n in range(4)])[0] == [0, 0, Status.IOERR, Status.IOERR]
    assert [data(disk, n) for n in range(2)] == [sector(3998), sector(3999)] and len(found) == 5


def test_of_the_python_half_before_a_broken_rule(transfers):
    """What the driver asked for before is done."""
    disk, found = transfers
    ring = disk.rings[0]
    for n in range(2):
        disk.memory.write(D.HEADER + 32 * n, struct.pack("<IIQ", IN, 0, 7 + n))
        parts = [(D.HEADER + 32 * n, 16, 0), (D.DATA + 0x1000 * n, SECTOR, WRITE), (D.STATUS + n, 1, WRITE)]
        ring.chain(parts, first=3 * n)
        ring.offer(3 * n)
    ring.chain([(D.HEADER, 16, 0)], first=9)
    ring.offer(9)
    ring.ring()
    assert disk.needs_reset and found == [(7 * SECTOR, 2 * SECTOR)] and [head for head, _ in ring.take()] == [0, 3]
