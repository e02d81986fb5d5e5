"""A device's state as bytes and back; and every way in which the bytes may be wrong."""

import msgpack
import pytest

from tools.driver import BlkDriver
from vmm.devmodel import layout_device
from vmm.devmodel.devices.blk import Blk
from vmm.devmodel.devices.probe import Probe
from vmm.devmodel.view import ffi, to_dict, view_of
from vmm.sync.snapshot import SnapshotError, pack, restore, unpack

LAYOUT = layout_device(Blk)


@pytest.fixture
def saved(image, machine_of):
    """The bytes of a disk in mid-flight."""
    machine = machine_of(image, "host")
    driver = BlkDriver(machine, machine.devices[0])
    for i in range(5):
        driver.read(i, 1)
    with machine.devices[0].queues[0].ownership:
        return pack(LAYOUT, machine.devices[0].state)


def blank():
    raw = ffi.new("uint64_t[]", LAYOUT.state.size // 8)
    return view_of(LAYOUT.state)(int(ffi.cast("uintptr_t", raw)), raw)


def test_there_and_back(saved):
    state = blank()
    restore(LAYOUT, state, saved)
    fields = unpack(LAYOUT, saved)
    assert state.queue[0].position.next_used == 5
    assert to_dict(state.queue[0].setup) == fields["queue"][0]["setup"]
    assert to_dict(state.disk) == fields["disk"]
    assert state.queue[0].entry.handled == 0        # the kernel half's counters start anew


def test_refused_by_the_device(saved):
    def check(fields):
        raise SnapshotError("no")
    state = blank()
    with pytest.raises(SnapshotError):
        restore(LAYOUT, state, saved, check)
    assert state.queue[0].position.next_used == 0


def changed(saved, **top):
    fields = msgpack.unpackb(saved)
    fields.update(top)
    return msgpack.packb(fields)


def with_state(saved, change):
    fields = msgpack.unpackb(saved)
    change(fields["state"])
    return msgpack.packb(fields)


@pytest.mark.parametrize("change, says", [
    (lambda s: b"", "msgpack"),
    (lambda s: s[:-3], "msgpack"),
    (lambda s: b"\x93\x01\x02\x03", "a list; wanted a map"),
    (lambda s: changed(s, schema="net"), "schema 'net'; wanted 'blk'"),
    (lambda s: changed(s, version=9), "version 9; wanted 1"),
    (lambda s: changed(s, layout=1), "layout 1"),
    (lambda s: changed(s, splitvmm=2), "splitvmm 2"),
    (lambda s: changed(s, state=None), "wanted a map"),
    (lambda s: with_state(s, lambda f: f["disk"].pop("image")), "missing field 'image'"),
    (lambda s: with_state(s, lambda f: f["disk"].update(odd=1)), "unknown field 'odd'"),
    (lambda s: with_state(s, lambda f: f["disk"].update(capacity=-1)), "state.disk.capacity: -1"),
    (lambda s: with_state(s, lambda f: f["disk"].update(capacity=2**63 * 2 - 1 + 0.5)), "whole number"),
    (lambda s: with_state(s, lambda f: f["disk"].update(capacity=True)), "whole number"),
    (lambda s: with_state(s, lambda f: f["queue"].pop()), "a list of 16"),
    (lambda s: with_state(s, lambda f: f["queue"][3]["position"].update(next_used=65536)),
     "state.queue\\[3\\].position.next_used: 65536"),
    (lambda s: with_state(s, lambda f: f["queue"][0]["ownership"].update(holder=5)), "one of \\[0, 1\\]"),
    (lambda s: with_state(s, lambda f: f["queue"][0]["user"].update(sequence=7)),
     "state.queue\\[0\\].user.sequence: 7; wanted it even"),
])
def test_hostile(saved, change, says):
    state = blank()
    with pytest.raises(SnapshotError, match=says):
        restore(LAYOUT, state, change(saved))
    assert state.disk.capacity == 0


def test_of_another_device(saved):
    with pytest.raises(SnapshotError, match="schema 'blk'; wanted 'probe'"):
        unpack(layout_device(Probe), saved)
