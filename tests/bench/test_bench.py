"""The benchmarks run, and their rows are as documented.  No figure is judged here."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.bench.pages import parse, words
from vmm.bench import blk, measure, shadow, start
from vmm.bench.rows import EXIT_CASES, BlkCase, blk_cases, net_cases
from vmm.bench.saved import read
from vmm.bench.tail import PER_MILLE
from vmm.bench.visits import VISIT_CASES
from vmm.cli import main as cli
from vmm.devices.disk_image import DiskImage
from vmm.devmodel import layout_device
from vmm.devmodel.devices.blk import SECTOR, Blk
from vmm.devmodel.virtqueue import queue_layout
from vmm.errors import UserError
from vmm.kvm.coalesced import CAPABILITY, CoalescedRing
from vmm.kvm.vm import Vm
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.stats import device_totals
from vmm.paths import BUILD

SPLITVMM = Path(sys.executable).parent / "splitvmm"

KEYS = ["bench", "mode", "op", "pattern", "bytes", "depth", "wait", "ring", "requests", "ns_per_request",
        "ns_min", "ns_max", "ns_each", "floor_ns", "cpu_ns_per_request", "cpu_vcpu_ns", "cpu_ring_ns", "exits_to_user",
        "handled", "declined", "why"]
OWN_KEYS = {"blk": ["vcpus", "storage", "notify", "doorbells", "interrupts", *PER_MILLE],
            "net": ["doorbells", "interrupts", *PER_MILLE], "shadow": ["retries"],
            "start": ["beside_ram_bytes", "parts_ns"]}
EXITS_OF_FIVE_WRITES = {"user-5": 5, "coalesced-4-user-1": 1, "posted-4-user-1": 1, "posted-4-handled-1": 0}  # a round


def rows_of(tmp_path, *arguments):
    path = tmp_path / "rows.json"
    assert cli.main(["bench", *arguments, "--quick", "--repeat", "1", "--json", str(path)]) == 0
    saved = json.loads(path.read_text())
    assert saved["schema"] == 1 and saved["machine"]["tsc_khz"] > 0
    for row in saved["rows"]:
        assert sorted(row) == sorted([*KEYS, *OWN_KEYS.get(row["bench"], [])])
        assert 0 < row["ns_min"] <= row["ns_per_request"] <= row["ns_max"]
        assert row["ns_each"] == [row["ns_per_request"]]
    assert read(path).rows == saved["rows"]
    assert datetime.fromisoformat(saved["date"]).utcoffset() == timedelta(0)
    return saved


def test_exits(tmp_path, kvm, bpf, capsys):
    page = tmp_path / "page.html"
    saved = rows_of(tmp_path, "exits", "--html", str(page))
    by_op = {row["op"]: row for row in saved["rows"]}
    assert set(by_op) == {case.op for case in EXIT_CASES}
    count = by_op["handled"]["requests"]
    for op, each in {"claimed": 0, "handled": 0, "declined": 1, "user-c": 0, "user-python": 1, "register-read-page": 0,
                     "register-read-exit": 1, **EXITS_OF_FIVE_WRITES}.items():
        assert by_op[op]["exits_to_user"] == each * count, op
    for op in ("handled", "declined", "user-python"):
        wanted, recorded = (by_op[each] for each in (op, f"{op}-recorded"))
        assert all(recorded[name] == wanted[name] for name in ("exits_to_user", "handled", "declined"))
    for op in ("handled", "posted-4-handled-1"):
        assert (by_op[op]["handled"], by_op[op]["declined"]) == (count, 0)
    assert by_op["declined"]["declined"] == count
    assert "foreign_exit_added_ns" in saved["machine"]
    out = capsys.readouterr().out
    assert "handled" in out and "one doorbell for" in out and "left out" not in out
    assert {op: line.split()[-3] for op in EXITS_OF_FIVE_WRITES for line in out.replace("│", " ").splitlines()
            if line.split()[:1] == [op]} == {op: str(each) for op, each in EXITS_OF_FIVE_WRITES.items()}
    assert [row["op"] for row in saved["visits"]] == [case.label for case in VISIT_CASES]
    for row, case in zip(saved["visits"], VISIT_CASES):
        rounds = (row["handled"] + row["user_handled"]) / case.requests
        assert rounds == (1 if case.hole else 3) and row["longest_ns"] >= row["longest_median_ns"] > 0
        assert row["handled"] if case.ring or not case.hole else row["user_handled"]
    bars = [bar.get("data-ns") for bar in parse(page).iter("rect") if bar.get("data-ns")]
    assert sorted(map(float, bars)) == sorted(row["ns_per_request"] for row in saved["rows"])


@pytest.mark.parametrize("modes", ["off", "off,host"])
def test_exits_of_some_modes(tmp_path, kvm, modes):
    saved = rows_of(tmp_path, "exits", "--modes", modes)
    assert {row["mode"] for row in saved["rows"]} == set(modes.split(","))


def test_shadow(tmp_path, kvm, bpf, capsys):
    page = tmp_path / "page.html"
    saved = rows_of(tmp_path, "shadow", "--html", str(page))
    assert [(row["op"], row["mode"]) for row in saved["rows"]] == [
        (op, mode) for op in shadow.OPS for mode in ("off", "host", "on")]
    assert {row["bytes"] for row in saved["rows"]} == {layout_device(Blk).state.field("queue").offset
                                                       + shadow.QUEUES * queue_layout().size}
    assert all(row["floor_ns"] > 0 and row["cpu_ns_per_request"] > 0 for row in saved["rows"])
    assert "looked again" in capsys.readouterr().out and "read beside-decoded" in " ".join(words(parse(page)).split())


def test_start(tmp_path, kvm, bpf, capsys):
    page = tmp_path / "page.html"
    saved = rows_of(tmp_path, "start", "--html", str(page))
    assert [(row["op"], row["mode"]) for row in saved["rows"]] == [
        (op, mode) for op in ("first", "end") for mode in ("off", "host", "on")]
    first, end = (saved["rows"][i:i + 3] for i in (0, 3))
    assert all(a["ns_per_request"] < b["ns_per_request"] and a["cpu_ns_per_request"] > 0 for a, b in zip(first, end))
    assert all(0 < row["beside_ram_bytes"] < 256 << 20 for row in saved["rows"])
    for row in first:
        assert {"Python and the command line", "imports", "KVM's VM", "guest loaded"} <= set(row["parts_ns"])
        assert ("dispatcher" in row["parts_ns"]) == ("disk0's handler" in row["parts_ns"]) == (row["mode"] == "on")
    assert {"typing", "vmm.devmodel.schema"} & {name for name, _ in saved["machine"]["imports_us"]}
    out = capsys.readouterr().out
    assert "MiB beside RAM" in out and "disk0's handler" in out and "imports: all" in out
    assert "first instruction, 256 MiB" in " ".join(words(parse(page)).split())


def test_a_guest_that_does_not_start_is_said(tmp_path, kvm):
    with start.started([sys.executable, "-c", "raise SystemExit('no')"]) as guest, pytest.raises(UserError, match="no"):
        guest.wait_first()


def case_of(op):
    return next(case for case in EXIT_CASES if case.op == op)


@pytest.mark.parametrize("op, each", EXITS_OF_FIVE_WRITES.items())
def test_exits_of_five_writes(request, kvm, op, each):
    case = case_of(op)
    if case.mode == "on":
        request.getfixturevalue("bpf")
    elif case.coalesced and (reason := measure.why_not_coalesced()):
        pytest.skip(reason)
    for count in (1, 100):
        assert measure.run_exits(case, count).exits == each * count


def test_writes_that_were_not_done_are_told(kvm, monkeypatch):
    """The first of four is done to the second register."""
    checked = CoalescedRing._checked

    def forget(self, entry):
        address, width, value = checked(self, entry)
        return (address, width, value) if value > 1 else (address + 4, width, value)
    if reason := measure.why_not_coalesced():
        pytest.skip(reason)
    monkeypatch.setattr(CoalescedRing, "_checked", forget)
    with pytest.raises(UserError, match="coalesced-4-user-1: in the end the registers are {'posted0': 2, .* wanted "
                                        "{'posted0': 1, 'posted1': 2, 'posted2': 3, 'posted3': 4, 'user': 5}"):
        measure.run_exits(case_of("coalesced-4-user-1"), 2)


def test_a_row_that_this_kvm_cannot_have(tmp_path, kvm, monkeypatch, capsys):
    capability = Vm.capability
    monkeypatch.setattr(Vm, "capability", lambda self, name: 0 if name == CAPABILITY else capability(self, name))
    page = tmp_path / "page.html"
    saved = rows_of(tmp_path, "exits", "--modes", "off", "--html", str(page))
    assert "coalesced-4-user-1" not in {row["op"] for row in saved["rows"]} and len(saved["rows"]) > 1
    said = "coalesced-4-user-1 is left out: KVM has no KVM_CAP_COALESCED_MMIO"
    assert saved["machine"]["left_out"] == [said]
    assert said in capsys.readouterr().out and said in words(parse(page))


def writes_are_declined(directory) -> bool:
    """Whether `on` declines writes to files here, by the policy that BlkDevice documents (Writes)."""
    path = directory / "try"
    path.write_bytes(bytes(SECTOR))
    image = DiskImage(path)
    inline = image.writes_inline
    image.close()
    return not inline and len(os.sched_getaffinity(0)) <= 2


def test_blk(tmp_path, kvm, bpf, monkeypatch, capsys):
    monkeypatch.setattr(blk, "QUICK_BLK", (BlkCase(), BlkCase(op="write")))
    rows = {(row["op"], row["mode"]): row for row in rows_of(tmp_path, "blk")["rows"]}
    assert all((row["doorbells"], row["interrupts"]) == (row["requests"], 0) for row in rows.values())
    assert all(0 < row["p50_ns"] <= row["p99_ns"] for row in rows.values())
    assert set(rows) == {(op, mode) for op in ("read", "write") for mode in ("off", "host", "on")}
    for mode in ("host", "on"):
        read, write = rows["read", mode], rows["write", mode]
        assert read["handled"] == read["requests"] and read["exits_to_user"] < 0.01 * read["requests"]
        # where a file system leaves them to a worker thread that has no CPU of its own, the native build does them
        declined = mode == "on" and writes_are_declined(tmp_path)
        assert write["handled"] == write["requests"] and (write["declined"] > 0) == declined
    assert "read 4 KiB" in capsys.readouterr().out


def test_blk_of_a_driver_that_goes_by_the_event_index(tmp_path, kvm, bpf, monkeypatch, capsys):
    """It rings where it is asked to, which in `off` and `host` is each time."""
    monkeypatch.setattr(blk, "QUICK_BLK", (BlkCase(ring=3, notify="event"), BlkCase(depth=32, ring=3, notify="event")))
    for row in rows_of(tmp_path, "blk")["rows"]:
        each = row["requests"] // row["depth"]
        assert row["floor_ns"] == 0 and row["doorbells"] <= each and (row["mode"] == "on" or row["doorbells"] == each)
    assert {"event", "index"} <= set(capsys.readouterr().out.split())      # on two lines, where columns are narrow


@pytest.mark.parametrize("wait", ["poll", "interrupt"])
def test_doorbells_and_interrupts_of_a_guest(image, kvm, mode, wait):
    """It counts those of its loop; the device all, those of the rounds before it included."""
    device = []
    cmdline = BlkCase(bytes=512, wait=wait).cmdline(batches=64)
    config = MachineConfig(BUILD / "measure.elf", measure.MEMORY, disks=[DiskConfig(image, offload=mode)],
                           cmdline=cmdline)
    sample, text = measure.run_machine(config, after=lambda machine: device.append(device_totals(machine.devices[0])))
    counted = measure.counted(text)
    assert counted["doorbells"] == 64
    most = 2 if mode == "on" else 1     # the doorbell's own may come beside the completion's
    assert 64 * (wait == "interrupt") <= counted["interrupts"] <= 64 * most * (wait == "interrupt")
    assert sample.doorbells == device[0]["user_doorbells" if mode == "off" else "doorbells"] > 64


def test_net(tmp_path, kvm, bpf, network, monkeypatch):
    """In a process of its own, as it goes to another network namespace."""
    path = tmp_path / "rows.json"
    done = subprocess.run([SPLITVMM, "bench", "net", "--quick", "--repeat", "1", "--json", str(path)],
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = {(row["op"], row["mode"]): row for row in json.loads(path.read_text())["rows"]}
    assert set(rows) == {(op, mode) for op in ("transmit", "receive", "udp-rtt") for mode in ("off", "host", "on")}
    for row in rows.values():
        assert sorted(row) == sorted([*KEYS, *OWN_KEYS["net"]]) and row["ns_per_request"] > 0
        assert row["doorbells"] > 0 and row["interrupts"] is None
        assert (row["p50_ns"] is None) == (row["op"] == "receive")
    sent = rows["transmit", "on"]
    assert sent["handled"] >= sent["requests"] and sent["exits_to_user"] < 0.01 * sent["requests"]


def test_every_net_row_that_was_asked_for():
    assert {(c.op, c.bytes) for c in net_cases()} == {
        *((op, size) for op in ("transmit", "receive") for size in (64, 1500, 65536)), ("udp-rtt", 64)}


def test_every_row_that_was_asked_for():
    cases = blk_cases()
    assert len(set(cases)) == len(cases)
    assert {(c.bytes, c.depth, c.pattern, c.op) for c in cases} >= {
        (size, depth, pattern, op) for size in (512, 4096, 65536, 1 << 20) for depth in (1, 32)
        for pattern in ("random", "sequential") for op in ("read", "write")}
    assert {(c.bytes, c.depth, c.wait, c.ring, c.op) for c in cases if c.notify == "event"} == {
        (4096, depth, "poll", 3, "read") for depth in (1, 32)}


def test_qemu_that_is_not_there(kvm, monkeypatch, capsys):
    from vmm.bench import measure
    monkeypatch.setattr(measure, "qemu_available", lambda: False)
    assert cli.main(["bench", "blk", "--quick", "--peer", "qemu"]) == os.EX_USAGE
    assert "install qemu-system-x86" in capsys.readouterr().err
