"""States as bytes, of a device, a vCPU or the chips: whatever they are, they are taken whole, or refused by an error
that says where, and nothing has changed then."""

import copy

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.chips.chipsets import Pc
from vmm.chips.state import give, take
from vmm.devmodel import layout_device
from vmm.devmodel.devices.net import Net
from vmm.devmodel.view import ffi, view_of
from vmm.errors import UserError
from vmm.executors.generated import States
from vmm.executors.reset import reset
from vmm.executors.saved import pack as pack_vcpu
from vmm.executors.saved import unpack as unpack_vcpu
from vmm.executors.state import blank, bytes_of, write_all
from vmm.sync import snapshot

MOST_LETTERS = 400          # of an error
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1 << 63, (1 << 64) - 1), st.text(max_size=3), st.floats(),
              st.binary(max_size=3), st.just(msgpack.Timestamp(1)), st.just("x" * 10_000)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=6)
QUICK = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))


def paths(value, above=()):
    """Of all that lies in maps and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*above, key))


def put(into, path, value):
    *outer, last = path
    for key in outer:
        into = into[key]
    into[last] = value


def net():
    layout = layout_device(Net)
    raw = ffi.new("uint64_t[]", layout.state.size // 8)
    return layout, view_of(layout.state)(int(ffi.cast("uintptr_t", raw)), raw)


def vcpu():
    state = blank()
    write_all(state, States(reset(), 4).next("long"))
    return pack_vcpu(state)


def refuses_net(data):
    layout, state = net()
    snapshot.restore(layout, state, data)


def refuses_vcpu(data):
    state = blank()
    try:
        unpack_vcpu(data, state)
    except snapshot.SnapshotError:
        assert not any(bytes_of(state)[:])
        raise


SAVED = {"net": (snapshot.pack(*net()), refuses_net), "vcpu": (vcpu(), refuses_vcpu)}


def told(restore, data):
    """It is taken, or the error is one that can be read."""
    try:
        restore(data)
    except (UserError, snapshot.SnapshotError) as error:
        assert "wanted" in str(error) and len(str(error)) < MOST_LETTERS, str(error)[:MOST_LETTERS]
        return str(error)
    return None


@pytest.mark.parametrize("name", SAVED)
def test_bytes_are_replaced(name):
    good, restore = SAVED[name]

    @QUICK
    @given(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 2), st.binary(max_size=5)), min_size=1,
                    max_size=3))
    def replaced(edits):
        data = bytearray(good)
        for at, length, others in edits:
            data[at:at + length] = others
        told(restore, bytes(data))
    replaced()


@pytest.mark.parametrize("name", SAVED)
def test_values_are_replaced(name):
    good, restore = SAVED[name]

    @QUICK
    @given(st.sampled_from(list(paths(msgpack.unpackb(good)))), PLAIN)
    @example(("schema",), "x" * 10_000)
    @example(("state",), ["x"] * 10_000)
    def replaced(path, value):
        fields = msgpack.unpackb(good)
        put(fields, path, value)
        told(restore, msgpack.packb(fields))
    replaced()


@pytest.mark.parametrize("data", [b"\x81" * 2000, b"\x91" * 2000, b"\x81\xc0\xc0", b"\x81\x90\xc0",
                                  b"\xdf" + b"\xff" * 4,
                                  b"\xdd" + b"\xff" * 4, b"\xc6" + b"\xff" * 4, b"\xc7\0\xff", b"\xd8" + b"\xff" * 17,
                                  b"\xa2\xff\xff", b"\xc1", b""])
def test_what_msgpack_has_for_those_who_are_careless(data):
    """Depth, keys that are no text, lengths without the bytes, times that are none, text that is none."""
    for _, restore in SAVED.values():
        assert len(told(restore, data)) > len("snapshot: ; wanted msgpack")


CHIPS = take(Pc().chips)


@QUICK
@given(st.lists(st.tuples(st.sampled_from(list(paths(CHIPS))), st.one_of(PLAIN, st.integers(0, 0xffff))), min_size=1,
                max_size=2), st.booleans())
@example([(("pics",), {0: CHIPS["pics"][0], 1: CHIPS["pics"][1]})], False)
@example([(("counters",), dict(enumerate(CHIPS["counters"])))], False)
@example([(("ioapic", "redirtbl"), dict(enumerate(CHIPS["ioapic"]["redirtbl"])))], False)
def test_chips(edits, runs):
    pc, state = Pc(), copy.deepcopy(CHIPS)
    for path, value in edits:
        try:
            put(state, path, value)
        except (TypeError, KeyError, IndexError):       # what is inside was replaced as well
            return
    if told(lambda given_state: give(pc.chips, given_state), state):
        assert take(pc.chips) == CHIPS
    elif runs:
        pc.passes(10**9)
