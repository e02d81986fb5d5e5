"""What the BPF build declines is done by the native build of the same handler, before it is Python's."""

import struct
import threading
from functools import partial

import pytest

from tests import waiting
from tools.driver import WRITE, BlkDriver
from vmm.devmodel.devices.blk import SECTOR, RequestType, Status, Writes
from vmm.devmodel.exit_path import UPCALL, Verdict
from vmm.devmodel.virtqueue import BUDGET, COMMON_REASONS
from vmm.sync.handoff import Declined

wait_for = partial(waiting.wait_for, timeout_s=20)

D = BlkDriver
IO_FAILED, HELD_BY_USER = (1 + list(COMMON_REASONS).index(name) for name in ("IO_FAILED", "HELD_BY_USER"))


@pytest.fixture
def disk(image, machine_of, bpf, ring):
    """Its writes wait for the page cache, as on a host of two CPUs with ext4."""
    machine = machine_of(image, "on")
    machine.devices[0].state.disk.writes = Writes.AT_ONCE
    return BlkDriver(machine, machine.devices[0])


def counts(disk):
    state = disk.device.state.queue[0]
    return state.entry.handled, state.entry.assisted, state.user.handled


def declines(disk):
    found = disk.device.state.queue[0].entry.declined
    return {reason.name: found[reason] for reason in disk.device.layout.reasons if found[reason]}


def test_a_write(disk, image):
    """Counted as declined once, and by nobody twice."""
    disk.write(3, b"x" * SECTOR)
    assert counts(disk) == (1, 1, 0) and image.read_bytes()[3 * SECTOR:4 * SECTOR] == b"x" * SECTOR
    assert declines(disk) == {"PUNTED": 1}


def test_interrupts_follow(disk):
    """One for each request, behind its completion; the doorbell's own may come beside it."""
    gsi = disk.device.line(0).gsi
    for sector in range(3):
        before = disk.machine.interrupts_of(gsi)
        disk.write(sector, bytes(SECTOR))
        assert disk.machine.interrupts_of(gsi) > before


def test_both_builds_go_on_from_each_other(disk):
    for sector in range(40):
        disk.write(sector, bytes([sector]) * SECTOR)
        assert disk.read(sector, 1) == bytes([sector]) * SECTOR
    assert counts(disk) == (80, 40, 0)


def test_python_does_what_the_native_build_declines_too(disk):
    disk.request(99, 0)
    assert disk.status() == Status.UNSUPP
    assert counts(disk) == (0, 0, 1) and declines(disk) == {"OTHER_REQUEST": 1}


def test_a_queue_that_userspace_holds(disk):
    queue = disk.device.queues[0]
    with queue.ownership:
        access = Declined(0, disk.device.place.slot, 0, 4, HELD_BY_USER, 0)
        assert not disk.machine.offloading.assist(access)


@pytest.mark.parametrize("slot, queue, reason", [(0, 0, IO_FAILED), (0, 99, BUDGET), (0, 1 << 40, BUDGET),
                                                 (63, 0, BUDGET), (64, 0, BUDGET), (1 << 31, 0, BUDGET), (0, 0, 0)])
def test_what_is_not_for_it(disk, slot, queue, reason):
    """Requests that failed, which Python does again; what is no doorbell of a device that it has; and a write that only
    follows a declined one, whatever it is of."""
    assert not disk.machine.offloading.assist(Declined(queue, slot, 0, 4, reason, 0))


def test_an_upcall(disk):
    """Of a collector that found a write waiting: there is no vCPU to do it on."""
    disk.header(RequestType.OUT, 5)
    disk.memory.write(D.DATA, b"y" * SECTOR)
    disk.rings[0].request([(D.HEADER, 16, 0), (D.DATA, SECTOR, 0), (D.STATUS, 1, WRITE)])
    disk.machine.called(Declined(0, disk.device.place.slot, 0, UPCALL, BUDGET, 0))
    assert disk.rings[0].take() and counts(disk) == (1, 1, 0)
    assert disk.read(5, 1) == b"y" * SECTOR


def test_no_longer_once_it_is_off(disk, image):
    slot = disk.device.place.slot
    disk.machine.set_offload(disk.device, "off")
    disk.write(1, b"z" * SECTOR)
    assert not disk.machine.offloading.assist(Declined(0, slot, 0, 4, BUDGET, 0))
    assert counts(disk) == (0, 0, 1) and image.read_bytes()[SECTOR:2 * SECTOR] == b"z" * SECTOR
    disk.machine.set_offload(disk.device, "on")
    disk.device.state.disk.writes = Writes.AT_ONCE
    disk.write(2, b"z" * SECTOR)
    assert counts(disk)[1] == 1


def out(disk):
    """Whether its doorbells leave the kernel, at the next look."""
    disk.machine.offloading._tick()
    return bool(disk.machine.offloading.balancing.out)


def write_until_out(disk):
    for _ in range(400):
        disk.write(3, b"x" * SECTOR)
        if out(disk):
            return
    raise AssertionError("400 writes wait, and doorbells are still seen in the kernel")


def test_doorbells_of_requests_that_wait_leave_the_kernel(disk):
    """And come in again when most do not wait; what is asked for meanwhile is done all the same."""
    declined = disk.device.state.queue[0].entry.declined
    write_until_out(disk)
    before = sum(declined)
    for n in range(80):
        disk.write(n, bytes([n]) * SECTOR)
        assert disk.read(n, 1) == bytes([n]) * SECTOR
        assert out(disk)        # half of them wait
    assert sum(declined) == before and not counts(disk)[2]
    for n in range(400):
        assert disk.read(n % 80, 1) == bytes([n % 80]) * SECTOR
        if not out(disk):
            break
    assert not out(disk)
    disk.write(1, b"z" * SECTOR)
    assert sum(declined) == before + 1 and counts(disk)[2] == 0


@pytest.mark.parametrize("change", ["off", "reset", "close"])
def test_doorbells_are_out_and_the_device_goes(disk, change):
    write_until_out(disk)
    if change == "off":
        disk.machine.set_offload(disk.device, "off")
        assert not disk.machine.offloading.balancing.out
        disk.write(4, b"y" * SECTOR)
        disk.machine.set_offload(disk.device, "on")
    elif change == "reset":
        disk.start()
    else:
        disk.machine.close()
        return
    assert disk.read(3, 1) == b"x" * SECTOR


def test_a_few_requests_say_nothing(disk):
    for _ in range(20):
        disk.write(3, b"x" * SECTOR)
        assert not out(disk)


def test_the_rings_thread_is_woken_for_what_was_submitted_before(disk):
    """A flush for the ring, whose thread sleeps, and a write that the native build does: nobody else tells of both."""
    disk.device.poll_completions = lambda: None     # the look by the clock, which wakes it too
    head, tail, flags, *_ = disk.device.queues[0].uring._words
    wait_for(lambda: flags[0] & 1)
    for at, kind in ((D.HEADER, RequestType.FLUSH), (D.HEADER + 16, RequestType.OUT)):
        disk.memory.write(at, struct.pack("<IIQ", kind, 0, 0))
    disk.rings[0].request([(D.HEADER, 16, 0), (D.STATUS, 1, WRITE)])
    disk.rings[0].request([(D.HEADER + 16, 16, 0), (D.DATA, SECTOR, 0), (D.STATUS, 1, WRITE)], head=2)
    disk.registers.write("queue_notify", 0)
    assert counts(disk)[1] in (1, 2) and declines(disk) == {"PUNTED": 1}
    wait_for(lambda: head[0] and head[0] == tail[0])     # 2, where its completion's interrupt goes through the ring


@pytest.fixture
def assisting(disk):
    """The host backend, whose native build takes until `goes_on` is set."""
    host, entered, goes_on = disk.machine.offloading.host, threading.Event(), threading.Event()

    def assist(*_):
        entered.set()
        assert goes_on.wait(20)
        return Verdict.HANDLED
    host.lib.exit_path_assist = assist
    thread = threading.Thread(target=host.assist, args=[Declined(0, disk.device.place.slot, 0, 4, BUDGET, 0)])
    thread.start()
    assert entered.wait(20)
    yield host, goes_on
    goes_on.set()
    thread.join()


def test_no_longer_offered_when_it_is_through(disk, assisting):
    """Upcalls come on a thread that does not stand still while a device is switched."""
    host, goes_on = assisting
    ends = threading.Thread(target=host.end_assist, args=[disk.device])
    ends.start()
    ends.join(0.05)
    assert ends.is_alive()
    goes_on.set()
    ends.join(20)
    assert not ends.is_alive()


def test_an_upcall_after_the_native_builds_are_gone(disk):
    host = disk.machine.offloading.host
    disk.machine.close()
    assert host.assist(Declined(0, disk.device.place.slot, 0, 4, BUDGET, 0)) == (Verdict.TO_USER, 0)
