"""Percentiles of single requests, by what a guest prints of them."""

from collections import Counter

import pytest

from tests.bench.made import net_row, row, write
from tests.bench.pages import parse, words
from vmm.bench import measure, saved, tables, tail
from vmm.bench.compare import compare
from vmm.bench.disk_runs import said
from vmm.bench.rows import BlkCase
from vmm.bench.storage import Storage
from vmm.cli import main as cli
from vmm.errors import UserError

TAIL = {"p50_ns": 2100.0, "p99_ns": 5100.0, "p999_ns": None}


def bucket(ticks):
    """As guests/stamps.c has it."""
    shift = max(0, ticks.bit_length() - 1 - tail.STEP_BITS)
    return (shift << tail.STEP_BITS) + (ticks >> shift)


@pytest.mark.parametrize("ticks", [
    0, 1, 63, 64, 65, 127, 128, 129, 8191, 8192, 12_345_678, (1 << 63) + 5, (1 << 64) - 1])
def test_a_bucket_is_narrow(ticks):
    assert abs(tail.middle(bucket(ticks)) - ticks) <= ticks / 128
    assert bucket(int(tail.middle(bucket(ticks)))) == bucket(ticks)


def test_buckets_are_in_order():
    middles = [tail.middle(number) for number in range(3776)]
    assert middles == sorted(set(middles)) and bucket((1 << 64) - 1) == 3775


def test_what_a_guest_says():
    found = tail.stamped("guest\nstamps: requests=7 50:4 128:3\n", 2_000_000)
    assert found == {25.0: 4, 64.25: 3}     # of two ticks, 128 and 129, at 2 GHz


@pytest.mark.parametrize("text", [
    "", "stamps: requests=2 50:1\n", "stamps: requests=1\n", "stamps: requests=1 50:1", "stamps: requests=1 50:x\n"])
def test_what_is_no_answer(text):
    with pytest.raises(UserError, match="the measuring guest said .*; wanted `stamps:`"):
        tail.stamped(text, 2_000_000)


@pytest.mark.parametrize("times, says", [
    (Counter(range(1, 1001)), (500, 990, 999)), (Counter(range(1, 1000)), (500, 990, None)),
    (Counter(range(1, 101)), (50, 99, None)), (Counter(range(1, 100)), (50, None, None)),
    (Counter({5: 990, 9: 9, 100: 1}), (5, 5, 9)), (Counter({7: 10_000}), (7, 7, 7)),
    (Counter({1: 2}), (1, None, None)), (Counter({1: 1}), (None, None, None)), (Counter(), (None, None, None))])
def test_percentiles(times, says):
    assert tuple(tail.percentiles(times).values()) == says


@pytest.mark.parametrize("ms, ns, says", [(50, 1000, 4096), (50, 100_000, 500), (50, 10e6, 32), (200, 1e9, 32)])
def test_how_many_are_timed(ms, ns, says):
    assert tail.how_many(ms, ns) == says


@pytest.mark.parametrize("case", [
    BlkCase(bytes=512), BlkCase(bytes=512, wait="interrupt"), BlkCase(bytes=512, ring=3, notify="event"),
    BlkCase(bytes=512, depth=32, op="write")])
def test_a_guest_times_each(image, kvm, mode, case):
    text = said(mode, Storage(image), case, batches=32, stamps=150)
    times = tail.stamped(text, measure.tsc_khz())
    assert times.total() == 150 and 0 < min(times) < max(times) < 60e9


def test_a_guest_times_no_more_than_it_has_room_for(image, kvm):
    with pytest.raises(UserError, match=f"stamps: found 0x0*1001, wanted 0x0*{tail.MOST_STAMPED:x}"):
        said("off", Storage(image), BlkCase(), batches=32, stamps=tail.MOST_STAMPED + 1)


@pytest.mark.parametrize("made", [row, net_row])
def test_tables_and_pages_have_them(tmp_path, made):
    page = tmp_path / "page"
    path = write(tmp_path / "rows", made("on", **TAIL), made("off"))
    found = saved.read(path)
    grid = tables.requests(found.benches[0], found.machine, found.rows)
    at = grid.head.index("p50")
    assert grid.head[at:at + 3] == ("p50", "p99", "p99.9")
    assert [line[at:at + 3] for line in grid.body] == [("2.10", "5.10", "-"), ("-", "-", "-")]
    assert tail.NOTE in tables.beneath(found.machine, found.rows)
    assert tail.NOTE not in tables.beneath(found.machine, found.rows[1:])
    assert cli.main(["bench", "draw", str(path), str(page)]) == 0
    assert "p50 2.10 µs, p99 5.10 µs" in words(parse(page)) and tail.NOTE in words(parse(page))


def test_files_of_before_are_compared(tmp_path):
    a, b = (saved.read(write(tmp_path / name, one)) for name, one in (("a", row()), ("b", row(**TAIL))))
    assert [pair.verdict for pair in compare(a, b).pairs] == ["within noise"]


def test_a_percentile_that_is_none(tmp_path):
    with pytest.raises(UserError, match=r"rows\[0\].p99_ns: 0; wanted a time in ns, above 0, or null"):
        saved.read(write(tmp_path / "rows", row(p99_ns=0)))
