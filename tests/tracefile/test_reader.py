"""Whatever is in a file, reading it yields events, or says at which byte it is no recording."""

import re

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracefile.made import DISK, END, HEADER, SERVED, event, recording, rung
from vmm.devmodel.recording import EventKind
from vmm.errors import UserError
from vmm.tracefile.lines import as_json, line
from vmm.tracefile.reader import Gap, Reader

WHOLE = recording(*SERVED)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.rec"


def read(path, data: bytes) -> list:
    path.write_bytes(data)
    return list(Reader(path))


def test_events_are_as_they_were_put_in(path):
    found = read(path, WHOLE)
    assert len(found) == len(SERVED) - 1        # of the vCPU nothing but its name is kept
    first, back = found[0], next(e for e in found if e.kind is EventKind.COMPLETE)
    assert (first.thread, first.device.name, first.queue, first.register.name) == ("vcpu3", "disk0", 0, "queue_notify")
    assert (back.thread, back.value, back.queue) == ("78", 1 << 32 | 9, 1)


def test_a_cut_file_has_all_events_before_the_cut(path):
    """And the byte is that of the item that is not whole."""
    starts, at = [], 0
    for item in (HEADER, DISK, *SERVED, END):
        starts.append(at)
        at += len(msgpack.packb(item))
    for cut in range(len(WHOLE)):
        path.write_bytes(WHOLE[:cut])
        events = []
        if cut in starts[1:]:
            events = list(Reader(path))
        else:
            with pytest.raises(UserError) as told:
                for each in Reader(path):
                    events.append(each)
            assert f"byte {max(start for start in starts if start <= cut)}: " in str(told.value)
        assert len(events) == max(0, sum(start <= cut for start in starts[3:]) - 1 if cut >= starts[3] else 0)


@pytest.mark.parametrize("data, says", [
    (b"", "byte 0: nothing; wanted a recording"),
    (b"\x7fELF" + bytes(100), "byte 0: no 'splitvmm recording'; wanted a recording"),
    (b"plain text\n", "byte 0: no 'splitvmm recording'"),
    (b"\xc1", "byte 0: FormatError"),
    (b"\xdf\xff\xff\xff\xff", "byte 0: ValueError"),
    (msgpack.packb({"format": "another"}), "byte 0: no 'splitvmm recording'"),
    (msgpack.packb({**HEADER, "version": 2}), "byte 0: version 2 of the format; wanted 1"),
    (msgpack.packb({**HEADER, "event": ["time"]}), "wanted 1"),
    (msgpack.packb({**HEADER, "wall_ns": -1}), "the header, wall_ns -1; wanted a whole number"),
    (recording(start=(HEADER,), end=([1, 2],)), "an event of 2 fields; wanted 11"),
    (recording(event(EventKind.WRITE), start=(HEADER,)), "an event of device 0; wanted one that was described before"),
    (recording(event(99)), "an event of kind 99"),
    (recording(event(EventKind.WRITE, half=7)), "by half 7"),
    (recording(event(EventKind.WRITE, time=-1)), "an event's time -1; wanted a whole number below"),
    (recording(event(EventKind.WRITE, value=True)), "an event's value True"),
    (recording(event(EventKind.WRITE, value="x" * 900)), "an event's value 'xxx"),
    (recording({"surprise": 1}), "wanted an event, a device, a gap or an end"),
    (recording("text"), "wanted an event, a device, a gap or an end"),
    (recording({"dropped": "many", "time": 1}), "a gap, dropped 'many'"),
    (recording(start=(HEADER, {**DISK, "name": "\x1b[31mred"})), "a device, name '\\x1b[31mred'; wanted"),
    (recording(start=(HEADER, {**DISK, "name": ""})), "wanted at most 200 letters"),
    (recording(start=(HEADER, {**DISK, "queues": {}})), "a device, queues {}; wanted a list"),
    (recording(start=(HEADER, {k: v for k, v in DISK.items() if k != "reasons"})), "a device without 'reasons'"),
    (recording(start=(HEADER, {**DISK, "device": 1 << 40})), "wanted a whole number below 0x100"),
    (recording(start=(HEADER, {**DISK, "registers": [{"name": "x"}]})), "a register without 'offset'"),
    (recording(start=(HEADER, {**DISK, "registers": [{**DISK["registers"][0], "bits": [[1]]}]})), "bits [1]; wanted"),
])
def test_what_is_no_recording(path, data, says):
    with pytest.raises(UserError, match=re.escape(says)) as told:
        read(path, data)
    assert re.search(r"run\.rec: byte \d+: ", str(told.value)) and len(str(told.value)) < 400


def test_a_file_that_is_not_there(path):
    with pytest.raises(UserError, match="No such file or directory; wanted a recording"):
        list(Reader(path))


def test_a_guest_that_started_again(path):
    """Devices and vCPUs are those of the new machine."""
    again = {**DISK, "name": "other"}
    found = read(path, WHOLE + recording(rung(5), start=(HEADER, again)))
    assert [(each.device.name, each.thread) for each in (found[0], found[-1])] == [("disk0", "vcpu3"), ("other", "77")]


def test_times_are_those_since_the_start(path):
    late = {**HEADER, "monotonic_ns": 400}
    assert [each.time_ns for each in read(path, recording(rung(1400), start=(late, DISK)))] == [1000]
    with pytest.raises(UserError, match="the time 399; wanted one after the recording's start, 400"):
        read(path, recording(rung(399), start=(late, DISK)))


def test_gaps(path):
    assert read(path, recording(rung(1), {"dropped": 12, "time": 9})) [-1] == Gap(9, 12)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-1 << 63, (1 << 64) - 1) | st.text(max_size=8) | st.floats() |
    st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12)


@QUIET
@given(data=st.binary(max_size=200))
def test_any_bytes(path, data):
    for whole in (data, msgpack.packb(HEADER) + data, WHOLE[:-40] + data):
        _read_or_told(path, whole)


@QUIET
@given(items=st.lists(plain | st.lists(st.integers(0, 300), min_size=11, max_size=11), max_size=5))
def test_any_items(path, items):
    _read_or_told(path, recording(*items))


@QUIET
@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit(path, at, bit):
    data = bytearray(WHOLE)
    data[at] ^= 1 << bit
    _read_or_told(path, bytes(data))


def _read_or_told(path, data: bytes) -> None:
    try:
        found = read(path, data)
    except UserError as error:
        assert re.search(r": byte \d+: ", str(error)) and "wanted" in str(error)
    else:
        assert all((line(each) + as_json(each)).isprintable() for each in found)
