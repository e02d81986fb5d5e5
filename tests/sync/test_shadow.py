"""A shadow is read while it is written, and no read is torn."""

import subprocess
import sys

import pytest

from vmm.devmodel.layout import MAX_REASONS
from vmm.devmodel.view import TornRead, address_of, ffi, view_of
from vmm.devmodel.virtqueue import queue_layout
from vmm.paths import ROOT
from vmm.sync import shadow
from vmm.sync.counting import count
from vmm.sync.shadow import CONTROL, QUEUE, Shadow, copies_of
from vmm.top import process

QUEUES = 3
SEEN = 20


@pytest.fixture
def blocks():
    """A control block and queues behind it: as one view each, and where they are."""
    raw = ffi.new("uint64_t[]", (CONTROL.size + QUEUES * QUEUE.size) // 8)
    at = int(ffi.cast("uintptr_t", raw))
    return [view_of(CONTROL)(at, raw),
            *(view_of(QUEUE)(at + CONTROL.size + i * QUEUE.size, raw) for i in range(QUEUES))]


def word(view, name):
    """A word that only handlers write, for a test to play one."""
    item = view._layout.field(name)
    return ffi.cast(f"uint{8 * item.type.size}_t *", address_of(view) + item.offset)


def reader(blocks):
    found = Shadow("device", QUEUES, CONTROL.size)
    return found, copies_of(address_of(blocks[0]), found.size)


def test_every_counter(blocks):
    """And each of its own place."""
    for number, block in enumerate(blocks):
        for part, names in (("entry", "doorbells handled assisted waited bytes busy_ns longest_ns polled"),
                            ("user", "doorbells handled bytes busy_ns")):
            for i, name in enumerate(names.split()):
                word(getattr(block, part), name)[0] = 1000 * number + 100 * (part == "user") + i
        word(block.entry, "declined")[5] = number + 1
        block.ownership.holder, block.ownership.generation = number % 2, 7 * number
    found, copies = reader(blocks)
    data = found.read(copies)
    for number in range(len(blocks)):
        counted, at = found.counters(data, number), 1000 * number
        assert counted.pop("declined") == [number + 1 if reason == 5 else 0 for reason in range(MAX_REASONS)]
        assert counted == {"doorbells": at, "handled": at + 1, "assisted": at + 2, "waited": at + 3, "bytes": at + 4,
                           "busy_ns": at + 5, "longest_ns": at + 6, "polled": at + 7, "user_doorbells": at + 100,
                           "user_handled": at + 101, "user_bytes": at + 102, "user_busy_ns": at + 103}
        assert found.ownership(data, number) == (number % 2, 7 * number)
    assert found.retries == 0


@pytest.mark.parametrize("part", ["entry", "user"])
def test_only_what_moved_is_read_again(blocks, part):
    """A queue that moves while it is copied, and is still at it at the next look; another that has moved then."""
    found, copies = reader(blocks)
    looks = []

    def moving():
        before, data, _ = copies()
        looks.append(1)
        one, other = (getattr(blocks[i], part) for i in (1, 2))
        if len(looks) < 3:
            word(one, "sequence")[0] += 1
            word(one, "handled")[0] += 1
        if len(looks) == 2:
            word(other, "handled")[0] = 99      # has been read: what is of one moment stays so
        return before, data, copies()[1]
    data = found.read(moving)
    key = "handled" if part == "entry" else "user_handled"
    assert (found.counters(data, 1)[key], found.counters(data, 2)[key], found.retries) == (2, 0, 2)


def test_a_writer_that_never_pauses(blocks, monkeypatch):
    monkeypatch.setattr(shadow, "TRIES", 5)
    found, copies = reader(blocks)
    word(blocks[3].entry, "sequence")[0] = 1
    with pytest.raises(TornRead, match="device: no quiet moment in 5 reads"):
        found.read(copies)


def test_a_count_that_was_broken_off(blocks):
    """The next one makes the sequence even again, also where it wraps."""
    user = blocks[1].user
    user.sequence = 0xffffffff
    count(user, 1, 512, 7)
    assert (user.sequence, user.handled, user.bytes, user.busy_ns) == (0, 1, 512, 7)


WRITER = """
from vmm.devmodel.view import view_of, TornRead
from vmm.devmodel.virtqueue import queue_layout
from vmm.sync.counting import count
from vmm.sync.region import Region
region = Region.anonymous("test", 4096)
user = view_of(queue_layout())(region.address + 1024).user
print(region.address, flush=True)
while True:
    count(user, 1, 512, 3)
"""


def test_another_process_that_does_nothing_but_count():
    assert CONTROL.size <= 1024 and queue_layout().size <= 2048
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            address = int(writer.stdout.readline())
            found, seen, retries = Shadow("queue", 1, 1024), set(), 0
            copies = process.copies_of(writer.pid, address, found.size)
            while len(seen) < SEEN or retries < SEEN:       # it was written meanwhile, and we saw that
                try:
                    counted = found.counters(found.read(copies), 1)
                except TornRead:        # nor did the writer ever run, where others have the CPUs
                    continue
                handled = counted["user_handled"]
                assert (counted["user_bytes"], counted["user_busy_ns"]) == (512 * handled, 3 * handled)
                seen.add(handled)
                retries += found.retries
        finally:
            writer.kill()
    with pytest.raises(process.Gone):
        found.read(copies)
