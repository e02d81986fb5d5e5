"""A queue's state agrees with the guest's memory wherever a sequence of guest actions has led, survives being saved,
and is refused whole if it was changed: what openvmm's issue 4439 asks; PROTOCOL.md has which test is for which."""

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm.devmodel.schema import Writer
from vmm.devmodel.view import ffi, to_dict, view_of
from vmm.sync.snapshot import SnapshotError, pack, restore
from vmm.verify.lockstep import Lockstep
from vmm.verify.source import Seeded
from vmm.verify.steps import step
from vmm.verify.strategies import ours
from vmm.virtio.virtio_device import EVENT_IDX, INDIRECT_DESC, RING_PACKED

STEPS, EACH = 400, 10       # of a sequence; between two looks at its state


def states(name, seed, **setting):
    """(layout, bytes, what a driver sees of each live queue) of a device that the native handler serves."""
    strategy = ours()[name]()
    with Lockstep(strategy, ["off", "host"], {**strategy.combinations()[0], **setting}) as lockstep:
        source, guest = Seeded(seed), lockstep.guests[1]
        for number in range(STEPS):
            assert lockstep.do(lockstep.next(source)) is None
            if number % EACH == 0 and guest.driver:
                yield guest, *held(guest)
                for queue in range(len(guest.device.queues)):       # what came back meanwhile has to be looked at
                    assert lockstep.do(step("take", queue=queue)) is None


def held(guest):
    """Its state while userspace has all its queues."""
    device = guest.device
    with device.lock:
        for queue in device.queues:
            queue.ownership.__enter__()
        try:
            return pack(device.layout, device.state), to_dict(device.state)
        finally:
            for queue in device.queues:
                queue.ownership.__exit__(None, None, None)


def carried(block, values, writer=None):
    """What of a block's fields goes into another device: all but what the kernel half writes."""
    writer = block.writer or writer
    found = {}
    for item in block.fields:
        if item.reserved or (item.writer or writer) is Writer.KERNEL:
            continue
        value = values[item.name]
        if item.block and item.type.count is None:
            value = carried(item.block, value, item.writer or writer)
        elif item.block:
            value = [carried(item.block, each, item.writer or writer) for each in value]
        found[item.name] = value
    return found


def blank(layout):
    raw = ffi.new("uint64_t[]", layout.state.size // 8)
    return view_of(layout.state)(int(ffi.cast("uintptr_t", raw)), raw)


@pytest.mark.parametrize("rings", ["split", "packed"])
@pytest.mark.parametrize("name", ours())
def test_state_survives_wherever_a_sequence_has_led(ring, name, rings):
    looks = done = 0
    for guest, saved, fields in states(name, 11, rings=rings):
        layout, again = guest.device.layout, blank(guest.device.layout)
        restore(layout, again, saved)
        assert carried(layout.state, to_dict(again)) == carried(layout.state, fields)
        for at, queue in zip(guest.driver.rings, fields["queue"]):
            if not queue["setup"]["ready"]:
                continue
            setup, accepted = queue["setup"], guest.device.accepted
            assert [setup[name] for name in ("desc", "avail", "used", "size")] == [at.desc, at.avail, at.used, at.size]
            assert [setup[name] for name in ("event_index", "indirect", "packed")] == [
                int(bool(accepted & bit)) for bit in (EVENT_IDX, INDIRECT_DESC, RING_PACKED)]
            if not setup["packed"] and not guest.broken:
                assert queue["position"]["next_used"] == at.used_index()
                done += queue["position"]["next_used"]
        looks += 1
    assert looks >= STEPS // EACH / 2 and (done or rings == "packed")


@pytest.fixture(scope="module")
def saved():
    """One of each device."""
    found = {}
    for name in ours():
        for guest, data, _ in states(name, 12):
            found[name] = guest.device.layout, data
    return found


def values_in(fields, path=()):
    for key, value in fields.items() if isinstance(fields, dict) else enumerate(fields):
        if isinstance(value, dict | list):
            yield from values_in(value, (*path, key))
        else:
            yield (*path, key)


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_changed_anyhow_it_is_refused_or_written_whole(ring, saved, data):
    layout, good = saved[data.draw(st.sampled_from(sorted(ours())))]
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(good) - 1))
        bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1:]
    else:
        fields = msgpack.unpackb(good)
        *path, last = data.draw(st.sampled_from(list(values_in(fields["state"]))))
        place = fields["state"]
        for key in path:
            place = place[key]
        place[last] = data.draw(st.one_of(st.integers(-1, 1 << 64), st.none(), st.text(), st.floats()))
        try:
            bad = msgpack.packb(fields)
        except OverflowError:
            return
    state = blank(layout)
    untouched = to_dict(state)
    try:
        restore(layout, state, bad)
    except SnapshotError as error:
        assert to_dict(state) == untouched and str(error)
    else:
        assert carried(layout.state, to_dict(state)) == carried(layout.state, msgpack.unpackb(bad)["state"])
