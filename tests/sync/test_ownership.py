"""The arcs of PROTOCOL.md, and what happens when a side does not keep to them."""

import threading
import time

import pytest

from vmm.devmodel.view import address_of, ffi, view_of
from vmm.devmodel.virtqueue import Side, queue_layout
from vmm.sync import ownership as ownership_module
from vmm.sync.ownership import ARCS, HandoffTimeout, IllegalArc, Ownership


@pytest.fixture
def queue():
    layout = queue_layout()
    raw = ffi.new("uint64_t[]", layout.size // 8)
    return view_of(layout)(int(ffi.cast("uintptr_t", raw)), raw)


@pytest.fixture
def ownership(queue):
    return Ownership("queue", queue.ownership, queue.entry)


def active(queue):
    """The word that only handlers write, for a test to play one."""
    return ffi.cast("uint32_t *", address_of(queue.entry))


def test_there_and_back(queue, ownership):
    assert ownership.holder == Side.USER
    ownership.give()
    assert ownership.holder == Side.KERNEL and queue.ownership.generation == 1
    ownership.take()
    assert ownership.holder == Side.USER and queue.ownership.generation == 2


def test_barriers(queue, ownership, monkeypatch):
    """Behind what others must have seen, before what we read next: as the model in models/ has them."""
    seen = []
    real = ownership_module.lib.full_barrier

    class Lib:
        @staticmethod
        def full_barrier():
            seen.append((ownership.holder, queue.ownership.generation))
            real()
    monkeypatch.setattr(ownership_module, "lib", Lib)
    ownership.give()
    assert seen == [(Side.USER, 1), (Side.KERNEL, 1)]
    ownership.take()
    assert seen[2:] == [(Side.USER, 2)]


@pytest.mark.parametrize("arc", ARCS)
def test_illegal_arc(ownership, arc):
    if arc == "give":
        ownership.give()
    with pytest.raises(IllegalArc, match=arc):
        getattr(ownership, arc)()


def test_take_waits_for_the_handler_inside(queue, ownership):
    ownership.give()
    active(queue)[0] = 1
    left = []

    def handler():
        time.sleep(0.05)
        left.append(queue.ownership.holder)
        active(queue)[0] = 0
    thread = threading.Thread(target=handler)
    thread.start()
    ownership.take(timeout_s=10)
    thread.join()
    assert left == [Side.USER]      # it was announced before it was waited for


def test_take_waits_as_long_as_a_disk_does(queue, ownership, monkeypatch):
    """A native handler may wait for a frozen file system: an hour goes by on this clock."""
    clock = iter(range(0, 1 << 30, 60))
    monkeypatch.setattr("vmm.sync.ownership.monotonic", lambda: next(clock))
    looks = []

    def sleep(_seconds):
        looks.append(ownership.holder)
        active(queue)[0] = int(len(looks) < 60)
    monkeypatch.setattr("vmm.sync.ownership.sleep", sleep)
    ownership.give()
    active(queue)[0] = 1
    ownership.take()
    assert ownership.held_by_user() and len(looks) == 60


def test_timeout_leaves_it_with_the_kernel(queue, ownership):
    ownership.give()
    active(queue)[0] = 1
    with pytest.raises(HandoffTimeout, match="1 handlers inside"):
        ownership.take(timeout_s=0.01)
    assert ownership.holder == Side.KERNEL


def test_held_for_a_while(ownership):
    ownership.assign(Side.KERNEL)
    with ownership:
        assert ownership.held_by_user()
    assert ownership.holder == Side.KERNEL
    ownership.assign(Side.USER)
    with ownership:
        pass
    assert ownership.held_by_user()


def test_changed_hands_behind_our_back(ownership):
    ownership.assign(Side.KERNEL)
    with pytest.raises(IllegalArc, match="as when it was taken"), ownership:
        ownership.give()
        ownership.take()


def test_generation_wraps(queue, ownership):
    queue.ownership.generation = 0xffffffff
    ownership.give()
    assert queue.ownership.generation == 0


@pytest.mark.parametrize("offload", ["host", "on"])
def test_doorbells_race_with_hand_overs(image, machine_of, interrupts, offload):
    """A handler on one thread, hand-overs on another: never both inside, no request lost, none done twice,
    and each interrupts, also one whose queue was taken meanwhile."""
    from tools.driver import BlkDriver
    machine = machine_of(image, offload)
    driver = BlkDriver(machine, machine.devices[0])
    stop, taken, moved, reads = threading.Event(), [], [], 0
    queue = machine.devices[0].queues[0]

    def seen():
        """What only the holder moves."""
        position, entry = queue.state.position, queue.state.entry
        return position.next_avail, position.next_used, entry.handled, entry.sequence

    def take_and_give():
        while not stop.is_set():
            with machine.devices[0].lock, queue.ownership:
                before = seen()
                time.sleep(0.0002)      # for a handler that is inside to go on
                moved.extend({before, seen()} - {before})
                taken.append(before)
            time.sleep(0.0002)
    thread = threading.Thread(target=take_and_give)
    thread.start()
    try:
        while reads < 3000 or len(taken) <= 50:
            assert driver.read(reads % 4000, 1)[:8] == (reads % 4000).to_bytes(8, "little")
            reads += 1
            assert interrupts(machine) >= reads
    finally:
        stop.set()
        thread.join()
    state = queue.state
    assert not moved and len({before[:2] for before in taken}) > 1
    assert state.entry.handled + state.user.handled == reads and state.entry.handled and state.user.handled
