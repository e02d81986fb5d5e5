"""Block requests of several vCPUs at once, each through a queue of its own."""

import json
import os

import pytest

from tests.bench.made import row, write
from tests.bench.pages import parse, words
from vmm.bench import blk, measure, saved, tables
from vmm.bench.compare import compare
from vmm.bench.disk_runs import QEMU_MODES, run_once
from vmm.bench.rows import MOST_VCPUS, BlkCase, label
from vmm.bench.storage import Storage
from vmm.bench.vcpus import Rates, crowded, rates
from vmm.cli import main as cli
from vmm.errors import UserError

CASE = BlkCase(bytes=512, ring=3)


def of(number, **changes):
    return row(ring=3, vcpus=number, host_cpus=2, each_per_s=[250_000.0] * number, **changes)


def test_what_a_guest_says():
    assert rates("vcpus: ticks=4000 10 30\n", 2_000_000) == Rates(40, (5e6, 15e6))
    found = rates("guest\nvcpus: ticks=4000 10 0 floor: ticks=2000 20 30\n", 2_000_000)
    assert (found.requests, found.each, found.floor_ns, found.ns) == (10, (5e6, 0), 20, 200)


@pytest.mark.parametrize("text", [
    "", "vcpus: ticks=5\n", "vcpus: ticks=0 5\n", "vcpus: ticks=5 5", "vcpus: ticks=5 0 0\n",
    "vcpus: ticks=5 5 floor: ticks=0 5\n", "vcpus: ticks=5 5 floor: ticks=5\n", "measure: requests=5 ticks=5\n"])
def test_what_is_no_answer(text):
    with pytest.raises(UserError, match="the measuring guest said .*; wanted `vcpus:`"):
        rates(text, 2_000_000)


@pytest.mark.parametrize("ring", [0, 3])
@pytest.mark.parametrize("number", range(1, MOST_VCPUS + 1))
def test_all_of_them_do_requests(image, kvm, mode, number, ring):
    """Of which the device has counted all.  One that had no CPU meanwhile has done some before: the guest checks it."""
    case = BlkCase(bytes=512, depth=4, ring=ring, vcpus=number)
    sample, text = run_once(mode, Storage(image), case, ticks=20 * measure.tsc_khz())
    found = rates(text, measure.tsc_khz())
    assert len(found.each) == number and found.each[0] > 0 and found.floor_ns > 0
    assert mode == "off" or sample.handled >= found.requests
    assert sample.doorbells * case.depth >= found.requests


def test_more_than_there_is_room_for(image, kvm):
    case = BlkCase(bytes=512, vcpus=MOST_VCPUS + 1)
    with pytest.raises(UserError, match=f"vcpus: found 0x0*{MOST_VCPUS + 1:x}, wanted 0x0*{MOST_VCPUS:x}"):
        run_once("off", Storage(image), case, ticks=0)


@pytest.mark.parametrize("case", [CASE, BlkCase(bytes=512, vcpus=2)])
def test_the_same_guest_under_qemu(image, kvm, case):
    if not measure.qemu_available():
        pytest.skip("no qemu-system-x86_64")
    sample, text = run_once(QEMU_MODES[0], Storage(image), case, batches=64, ticks=1000)
    assert sample.cpu_ns > 0 and (len(rates(text, 2_000_000).each) == 2 if case.vcpus else measure.counted(text))


def test_rows(tmp_path, kvm, bpf, monkeypatch, capsys):
    monkeypatch.setattr(blk, "VCPU_BLK", (CASE,))
    path, page = tmp_path / "rows", tmp_path / "page"
    more = len(os.sched_getaffinity(0)) + 1
    numbers = [1, more] if more <= MOST_VCPUS else [1, 2]
    assert cli.main(["bench", "blk", "--vcpus", ",".join(map(str, numbers)), "--quick", "--repeat", "1", "--json",
                     str(path), "--html", str(page)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert saved.read(path).rows == rows
    assert [(one["vcpus"], one["mode"]) for one in rows] == [
        (number, mode) for number in numbers for mode in ("off", "host", "on")]
    for one in rows:
        assert 1e9 / one["ns_per_request"] == pytest.approx(sum(one["each_per_s"]), rel=0.01)
        assert one["floor_ns"] > 0 and one["p50_ns"] is None and one["doorbells"] == one["requests"]
    out = capsys.readouterr().out
    assert "of each vCPU" in out and ("too few" in out) == (more <= MOST_VCPUS)


def test_what_is_said_where_they_take_turns(tmp_path):
    page, path = tmp_path / "page", write(tmp_path / "rows", of(1), of(2), of(4))
    found = saved.read(path)
    assert [crowded(one) for one in found.rows] == ["", "", "4 vCPUs take turns on 2 CPUs"]
    grid = tables.requests("blk", found.machine, found.rows)
    assert grid.head[2:5] == ("1000/s", "of each vCPU", "CPUs")
    assert [line[2:5] for line in grid.body] == [("500.0", "250.0", "2"), ("500.0", "250.0 250.0", "2"), (
        "500.0", "250.0 250.0 250.0 250.0", "2, too few")]
    assert tables.beneath(found.machine, found.rows) == ["4 vCPUs take turns on 2 CPUs"]
    assert cli.main(["bench", "draw", str(path), str(page)]) == 0
    captions = [words(one) for one in parse(page).iter("figcaption")]
    assert captions == ["4 vCPUs take turns on 2 CPUs"]


def test_rows_are_told_apart_by_their_number(tmp_path):
    rows = [row(ring=3), of(1), of(2)]
    a, b = (saved.read(write(tmp_path / name, *rows)) for name in "ab")
    assert len(compare(a, b).pairs) == 3
    assert [label(one).removeprefix("read 4 KiB x1 random, ring 3") for one in rows] == ["", ", 1 vCPU", ", 2 vCPUs"]


@pytest.mark.parametrize("bad, says", [
    ({"each_per_s": [-1]}, "each_per_s: [-1]; wanted a list of numbers a second, 0 or more"),
    ({"each_per_s": 5}, "each_per_s: 5"), ({"host_cpus": None}, "host_cpus: None"), ({"vcpus": "2"}, "vcpus: '2'")])
def test_rows_that_are_none(tmp_path, bad, says):
    with pytest.raises(UserError) as error:
        saved.read(write(tmp_path / "rows", {**of(2), **bad}))
    assert says in str(error.value)


@pytest.mark.parametrize("given, says", [
    ("5", "--vcpus '5'; wanted a whole number from 1 to 4"), ("0", "--vcpus '0'"), ("", "--vcpus ''"),
    ("1,1", "--vcpus 1,1: 1 given twice"), ("two", "--vcpus 'two'")])
def test_numbers_that_are_none(given, says, capsys):
    assert cli.main(["bench", "blk", "--vcpus", given]) == os.EX_USAGE
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
