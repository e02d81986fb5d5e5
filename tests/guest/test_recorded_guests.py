"""Recordings of guests: what the halves did is in them, all of it, however the run ends."""

import os
import signal
import time

import pytest

from tests.cli import started
from tests.cli.test_reboots import RESET, real_mode
from tests.guest.test_guests import run
from vmm.devices.probe import ProbeDevice
from vmm.devmodel.recording import EventKind
from vmm.machine.config import DiskConfig, MachineConfig, RecordConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD
from vmm.tracefile.reader import Reader
from vmm.tracefile.summary import summed_up

TIMEOUT_S = 60      # of a hang


@pytest.fixture
def ended():
    yield
    started.end_all()


def test_every_request_is_in_it(tmp_path, mode, image):
    path = tmp_path / "run.rec"
    status, _, (totals,) = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode, queues=3)], "rounds=3",
                               record=RecordConfig(path))
    assert status == 0
    reader = Reader(path)
    found = summed_up(reader)
    assert reader.end == {**reader.end, "end": "closed", "dropped": 0}
    assert sum(times.requests for times in found.times.values()) == totals["handled"] + totals["user_handled"] > 50
    assert sum(found.declines.get("disk0", {}).values()) == sum(totals["declined"].values())
    times = [event.time_ns for event in Reader(path)]
    assert times == sorted(times)


def test_three_modes_in_one_run(tmp_path, bpf):
    """A guest that writes doorbells of three devices in turn: each is answered by its own half, on the vCPU."""
    path, rounds, base = tmp_path / "run.rec", 32, 0xd0000000 + ProbeDevice.schema.handled.offset
    modes = ("off", "host", "on", "off", "host")    # the guest goes through five places
    words = [f"count={rounds}", *(f"write{i}={base + 0x1000 * ('off', 'host', 'on').index(mode):#x}"
                                  for i, mode in enumerate(modes))]
    config = MachineConfig(BUILD / "exits.elf", 64 << 20, cmdline=" ".join(words), serial=f"file={tmp_path / 'serial'}",
                           record=RecordConfig(path))
    with Machine(config, tuple((ProbeDevice(mode), mode) for mode in ("off", "host", "on"))) as machine:
        assert machine.run(TIMEOUT_S) == 0
    events = [event for event in Reader(path) if event.kind in (EventKind.WRITE, EventKind.VISIT)]
    assert {event.thread for event in events} == {"vcpu0"}
    halves = {"off": "python", "host": "native", "on": "kernel"}
    assert [(event.device.name, event.half.name.lower(), event.kind.name.lower()) for event in events] == [
        (mode, halves[mode], kind) for mode in modes for kind in ("write", "visit")] * rounds


def waiting(tmp_path, *writes):
    """A guest that waits for ever, recorded; its process and the recording."""
    guest, path = tmp_path / "guest", tmp_path / "run.rec"
    guest.write_bytes(real_mode(*writes))
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    process = started.start("run", guest, "--flat", "0x7c00", "--mem", "1M", "--serial", "null", "--disk",
                            f"{disk},offload=host", "--record", path, "--reboots", "1")
    deadline = time.monotonic() + TIMEOUT_S
    while not path.exists() or path.stat().st_size < 500:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    return process, path


@pytest.mark.parametrize("number, end", [(signal.SIGTERM, "closed"), (signal.SIGINT, "closed"), (signal.SIGKILL, None)])
def test_signals(tmp_path, kvm, ended, number, end):
    process, path = waiting(tmp_path)
    os.kill(process.pid, number)
    process.wait(TIMEOUT_S)
    reader = Reader(path)
    list(reader)
    assert (reader.end["end"] if reader.end else None) == end


def test_a_guest_that_restarts(tmp_path, kvm, ended):
    """Its recording goes on in the same file."""
    process, path = waiting(tmp_path, RESET)
    assert process.wait(TIMEOUT_S) == 101
    assert path.read_bytes().count(b"splitvmm recording") == 2
    list(Reader(path))
