"""What is recorded of a device, in each half: events in order, none lost without a word, and a file that can be read
however it ends."""

import errno
import logging
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns

import pytest

import vmm.offload.recording as recording
from tools.driver import BlkDriver
from vmm.devices.probe import ProbeDevice
from vmm.devmodel.recording import EVENTS, EventKind
from vmm.errors import UserError
from vmm.machine.config import DiskConfig, MachineConfig, RecordConfig
from vmm.offload.record_file import PATIENCE_S, RESERVE, RecordFile
from vmm.sync.event_ring import EventRing
from vmm.sync.ownership import Ownership
from vmm.sync.region import Region
from vmm.testing.bpf_run import machine_without_vcpus
from vmm.testing.driver import Registers
from vmm.tracefile.reader import Gap, Reader

HALF = {"host": "native", "on": "kernel"}


@pytest.fixture
def recorded(tmp_path, request):
    """recorded(devices=..., disks=...) is a machine, for the block; events(...) what was recorded of one."""
    path = tmp_path / "run.rec"

    @contextmanager
    def machine(devices=(), record=None, **config):
        modes = {mode for _, mode in devices} | {disk.offload for disk in config.get("disks", ())}
        if "on" in modes:
            request.getfixturevalue("bpf_run")
        config = MachineConfig(memory=4 << 20, serial="null", kvm=False, record=record or RecordConfig(path), **config)
        with machine_without_vcpus(config, devices) as made:
            yield made
    machine.path = path
    return machine


def told(events) -> list[tuple[str, str, str]]:
    """(half, kind, reason) of each."""
    return [(event.half.name.lower(), event.kind.name.lower(), event.reason) for event in events]


def test_a_register_device(recorded, mode_of_device):
    """A doorbell that is handled, one that is declined, a posted register, and a read."""
    with recorded(((ProbeDevice("probe"), mode_of_device),)) as machine:
        probe = Registers(machine, machine.devices[0])
        probe.write("handled", 5)
        probe.write("declined", 6)
        probe.write("posted0", 7)
        probe.read("constant")
    python = [("python", "write", ""), ("python", "visit", "")]
    half = HALF.get(mode_of_device)
    found = [event for event in Reader(recorded.path) if event.kind not in (EventKind.TAKE, EventKind.GIVE)]
    assert told(found) == [
        *([(half, "write", ""), (half, "visit", "")] if half else python),
        *([(half, "write", ""), (half, "visit", "asked"), (half, "decline", "asked")] if half else []), *python,
        *([(half, "write", "")] if half else python), ("python", "read", "")]
    said = [(event.register.name, event.value) for event in found if event.kind is EventKind.WRITE]
    assert list(dict.fromkeys(said)) == [("handled", 5), ("declined", 6), ("posted0", 7)]


def test_a_queue(recorded, offload, image, ring):
    """One request done at once, one that Python does, and one in flight."""
    half = HALF[offload]
    with recorded(disks=[DiskConfig(image, offload=offload, asynchronous="on")]) as machine:
        disk = BlkDriver(machine, machine.devices[0])
        disk.read(0, 1)
        disk.request(77, 0)         # which no driver asks for
        disk.rings[0].take()
        disk.write(1, bytes(512))
    found = list(Reader(recorded.path))
    interrupts = [event.time_ns for event in found if event.kind is EventKind.INTERRUPT]
    found = [event for event in found if event.kind is not EventKind.INTERRUPT]
    rung = [at for at, event in enumerate(found) if event.doorbell and event.half.name.lower() == half]
    at_once, declined, flying = (found[a:b] for a, b in zip(rung, [*rung[1:], len(found)]))
    times = [found[at].time_ns for at in rung]
    assert all(any(since < time < until for time in interrupts) for since, until in zip(times, [*times[1:], 1 << 63]))
    assert told(at_once)[:2] == [(half, "write", ""), (half, "visit", "")]
    assert (at_once[1].value, at_once[1].queue) == (1, 0) and at_once[1].took_ns > 0
    native = [("native", "visit", "other_request")] if offload == "on" else []      # which is asked before Python
    wanted = [(half, "write", ""), (half, "visit", "other_request"), (half, "decline", "other_request"), *native,
              ("python", "write", ""), ("python", "take", ""), ("python", "give", ""), ("python", "visit", "")]
    assert told(declined)[:len(wanted)] == wanted
    take, give, visit = declined[len(wanted) - 3:len(wanted)]
    assert (take.queue, give.queue, give.value, visit.value) == (0, 0, take.value + 1, 1)
    submitted, back = (next(e for e in flying if e.kind is kind) for kind in (EventKind.SUBMIT, EventKind.COMPLETE))
    assert (submitted.value, submitted.queue) == (back.value, back.queue) and submitted.time_ns <= back.time_ns
    assert sum(e.value for e in flying if e.kind in (EventKind.VISIT, EventKind.COLLECT)) == 1


def test_the_order_is_that_of_time(recorded, image):
    with recorded(disks=[DiskConfig(image, offload="host")], devices=((ProbeDevice("probe"), "off"),)) as machine:
        disk, probe = BlkDriver(machine, machine.devices[0]), Registers(machine, machine.devices[1])
        for _ in range(50):
            disk.read(0, 1)
            probe.write("user", 1)
    times = [event.time_ns for event in Reader(recorded.path)]
    assert times == sorted(times) and len(times) > 250


def test_what_comes_late_comes_in_order(recorded, monkeypatch):
    """Within HOLD_NS: another thread may have been kept from putting its event in."""
    monkeypatch.setattr(recording, "TICK_S", 1000)
    with recorded(((ProbeDevice("probe"), "off"),)) as machine:
        now, made = monotonic_ns() + 1_000_000_000, machine.recording

        def taken(*ages_ms):
            """Looks at a ring that has events of so long ago."""
            rounds = [[(now - 1_000_000 * age, age, 1, 0, 0, 0, 0, 0, 0, 2, int(EventKind.UPCALL)) for age in ages_ms]]
            monkeypatch.setattr(made.ring, "take", lambda: rounds.pop() if rounds else [])
            made._drain(now - recording.HOLD_NS)
        taken(30, 40, 2, 1)
        taken(3, 0)
        monkeypatch.undo()
    found = [event.value for event in Reader(recorded.path) if event.kind is EventKind.UPCALL]
    assert found == [40, 30, 3, 2, 1, 0]


def test_nothing_is_in_the_way_where_nobody_records(image, machine_with):
    machine = machine_with(memory=4 << 20, disks=[DiskConfig(image, offload="off")])
    device = machine.devices[0]
    assert not vars(device).keys() & {"read", "write", "_serve_held"}
    assert {type(ownership) for ownership in (device.control, device.queues[0].ownership)} == {Ownership}
    assert "pulse" not in vars(device.place.lines[0]) and machine.recording is None


# the ring

@pytest.fixture
def ring_of():
    region = Region.anonymous("events", EventRing.BYTES)
    yield EventRing(region.address)
    region.close()


def test_writers_at_once(ring_of):
    """Each one's events come out as it put them in, and none is lost or there twice."""
    threads, each = 4, 5000

    def put(slot):
        for value in range(each):
            ring_of.record(EventKind.WRITE, slot, value=value)
    writers = [threading.Thread(target=put, args=(slot,)) for slot in range(threads)]
    for writer in writers:
        writer.start()
    taken = []
    while len(taken) < threads * each:
        taken += ring_of.take()
    for writer in writers:
        writer.join()
    assert not ring_of.take() and not ring_of.dropped
    for slot in range(threads):
        assert [event[1] for event in taken if event[5] == slot] == list(range(each))


def test_what_finds_no_place_is_counted(ring_of):
    for value in range(EVENTS + 5):
        ring_of.record(EventKind.WRITE, 1, value=value)
    assert (ring_of.dropped, ring_of.waiting) == (5, EVENTS)
    ring_of.take()
    ring_of.record(EventKind.WRITE, 1, value=1 << 63)
    assert ring_of.dropped == 5
    taken = []
    while more := ring_of.take():
        taken += more
    assert taken[-1][1] == 1 << 63 and taken[-2][1] == EVENTS - 1


def test_what_is_dropped_is_told(recorded, monkeypatch, caplog):
    monkeypatch.setattr(recording, "TICK_S", 1000)
    with recorded(((ProbeDevice("probe"), "off"),)) as machine:
        for value in range(EVENTS + 7):
            machine.recording.ring.record(EventKind.READ, 0, value=value)
    reader = Reader(recorded.path)
    gaps = [event for event in reader if isinstance(event, Gap)]
    assert sum(gap.dropped for gap in gaps) == reader.end["dropped"] >= 7
    assert f"run.rec: {reader.end['dropped']} events are not in it" in caplog.text


# the file

def test_it_is_no_longer_than_it_may_be(recorded, caplog):
    most = 64 << 10
    with recorded(((ProbeDevice("probe"), "off"),), RecordConfig(recorded.path, most)) as machine:
        probe, value = Registers(machine, machine.devices[0]), 0
        while not machine.recording._file.failed:
            probe.write("user", value)
            value += 1
        for _ in range(100):
            assert probe.read("constant") == 0x600d
    reader = Reader(recorded.path)
    events = list(reader)
    assert len(events) + reader.end["dropped"] == 2 * value + 100      # a write, and how long it took
    found = [event.value for event in events if event.kind is EventKind.WRITE]
    assert most - 2 * RESERVE < recorded.path.stat().st_size <= most
    assert found == list(range(len(found))) and "65,536 bytes" in reader.end["end"]
    assert caplog.text.count("nothing more is recorded") == 1


def test_a_full_disk(recorded, caplog):
    with recorded(((ProbeDevice("probe"), "off"),), RecordConfig(Path("/dev/full"))) as machine:
        assert Registers(machine, machine.devices[0]).read("constant") == 0x600d
    assert caplog.text.count("No space left on device; the guest goes on") == 1


def test_a_disk_that_is_full_in_the_middle_of_an_event(tmp_path, monkeypatch, caplog):
    """The file is cut at the event before."""
    file, write = RecordFile(tmp_path / "run.rec", 1 << 20, True), os.write
    assert file.write([b"one", b"two"]) == 2

    def short(fd, data):
        if len(data) < 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:7])
    monkeypatch.setattr(os, "write", short)
    assert file.write([b"three", b"four"]) == 1
    monkeypatch.undo()
    assert file.write([b"five"]) == 0
    file.end(b"end")
    assert (tmp_path / "run.rec").read_bytes() == b"onetwothree"


def test_whoever_reads_has_gone(recorded, tmp_path, caplog):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with recorded(((ProbeDevice("probe"), "off"),), RecordConfig(fifo)) as machine:
        os.close(reader)
        assert Registers(machine, machine.devices[0]).read("constant") == 0x600d
    assert "whoever reads it has gone; the guest goes on" in caplog.text


def test_whoever_reads_has_stopped(recorded, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("vmm.offload.record_file.PATIENCE_S", PATIENCE_S / 20)
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with recorded(((ProbeDevice("probe"), "off"),), RecordConfig(fifo)) as machine:
        for value in range(6000):
            machine.recording.ring.record(EventKind.READ, 0, value=value)
    os.close(reader)
    assert "whoever reads it has stopped; the guest goes on" in caplog.text


def test_no_file_to_write(recorded, tmp_path):
    with pytest.raises(UserError, match=r"--record .*: Is a directory; wanted a file to write"), \
            recorded(record=RecordConfig(tmp_path)):
        pass


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level(logging.WARNING, "splitvmm")
