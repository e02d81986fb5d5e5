"""What changed between two files of rows."""

import os

import pytest

from tests.bench.made import MACHINE, exit_row, linux_row, net_row, old, row, write
from tests.bench.pages import classes, parse, words
from vmm.bench.compare import compare
from vmm.bench.noise import Verdict
from vmm.bench.saved import read
from vmm.cli import main as cli


@pytest.fixture
def files(tmp_path):
    """files(rows of A, rows of B): their paths."""
    def make(a, b, machine=MACHINE):
        return write(tmp_path / "a.json", *a), write(tmp_path / "b.json", *b, machine=machine)
    return make


@pytest.fixture
def compared(files):
    return lambda *given, **more: compare(*map(read, files(*given, **more)))


def test_rows_are_the_same_by_what_they_are(compared):
    """Not by their place, and not by how many requests a loop had."""
    same = [row("off"), row("on"), row("on", ring=3), row("on", depth=32), row("on", wait="interrupt"),
            row("on", pattern="sequential"), row("on", op="write"), row("on", bytes=512),
            row("on", notify="event")]
    found = compared(same, [{**one, "requests": 5, "handled": 5} for one in reversed(same)])
    assert len(found.pairs) == len(same) and all(pair.ratio == 1 for pair in found.pairs)
    cached = compared([linux_row(), linux_row(cache="writeback")], [linux_row()])
    assert [pair.verdict for pair in cached.pairs] == [Verdict.NOISE, "only in A"]


def test_rows_of_before_it_was_kept_when_a_driver_rings(compared):
    """Were of one that always does; and what was not counted then is not compared."""
    rings = [row(notify="always", doorbells=1000, interrupts=0), row(notify="event", doorbells=5, interrupts=0)]
    found = compared([row()], rings).pairs
    assert [(pair.verdict, pair.counts()) for pair in found] == [(Verdict.NOISE, []), ("only in B", [])]


def test_verdicts(compared):
    a = [row("off", 30000), row("host", 10000), row("on", 2000), row("qemu-threads", 3000)]
    b = [row("qemu-io_uring", 3000), row("on", 3000), row("host", 5000), row("off", 30100)]
    found = compared([*a, row("on", op="write")], [*b, row("on", op="write")])
    assert [(pair.row["op"], pair.row["mode"], pair.verdict) for pair in found.pairs] == [
        ("read", "off", "within noise"), ("read", "host", "faster"), ("read", "on", "slower"),
        ("read", "qemu-threads", "only in A"), ("read", "qemu-io_uring", "only in B"), ("write", "on", "within noise")]
    assert found.summary() == "1 faster, 1 slower, 2 within noise, 1 only in A, 1 only in B"


@pytest.mark.parametrize("a, b, status", [
    (row("on"), row("on"), 0), (row("on"), row("on", 4000), 1), (row("on", 4000), row("on"), 0),
    (row("on"), row("on", 2400, (0.5, 0.7, 1, 1.2, 1.4)), 0), (row("on", spread=(1,)), row("on", 9000, (1,)), 0),
    (old(row("on")), old(row("on", 4000)), 1), (row("on"), old(row("on", 4000)), 1)])
def test_status(files, a, b, status, capsys):
    assert cli.main(["bench", "compare", *map(str, files([a, row("off")], [b, row("off")]))]) == status
    out = capsys.readouterr().out
    assert ("slower: read 4 KiB x1 random, on: 2.0 times as long as in A" in out) == (status == 1)


def test_a_peer_that_is_slower_is_not_ours(files, capsys):
    paths = files([row("on"), row("qemu-threads")], [row("on"), row("qemu-threads", 4000)])
    assert cli.main(["bench", "compare", *map(str, paths)]) == 0
    out = capsys.readouterr().out
    assert "1 slower, 1 within noise (1 of the slower a peer's)" in out
    assert "warning: the peers: 2.0 times as long as in A" in out


def test_counts_that_changed(compared):
    """Each for its own: of 32 requests for a doorbell, one exit more is much."""
    a = [row("off", exits_to_user=1002), row("on", declined=40), row("on", depth=32, requests=32000, exits_to_user=0),
         row("host", doorbells=1000, interrupts=900), linux_row(exits_to_user=2000)]
    b = [row("off", exits_to_user=1004), row("on", declined=1000, handled=0),
         row("on", depth=32, requests=32000, exits_to_user=1000), row("host", doorbells=5, interrupts=0),
         linux_row(exits_to_user=2040)]
    found = [(pair.row["depth"], count) for pair in compared(a, b).pairs for count in pair.counts()]
    assert found == [(1, ("handled", 1, 0)), (1, ("declined", 0.04, 1)), (1, ("doorbells", 1, 0.005)),
                     (1, ("interrupts", 0.9, 0)), (32, ("to user", 0, 1 / 32))]


@pytest.mark.parametrize("key, value, says", [
    ("kernel", "6.1.0", "kernel: 6.18.0 in A, 6.1.0 in B"), ("cpu", "Another", "cpu: A processor in A, Another in B"),
    ("cpus", 1, "cpus: 2 in A, 1 in B")])
def test_another_machine(compared, key, value, says):
    assert compared([row()], [row()]).warnings() == []
    (warning,) = compared([row()], [row()], machine={**MACHINE, key: value}).warnings()
    assert says in warning


def test_a_machine_of_another_speed(compared):
    """The floor is of each row of ours; rows of QEMU have that of ours."""
    peers = [row("qemu-threads", floor_ns=9000.0), row("qemu-io_uring", floor_ns=9000.0)]
    (warning,) = compared([row("on"), *peers], [row("on", floor_ns=1200.0), *peers]).warnings()
    assert warning.startswith("the floor: 20 % longer than in A")


def test_too_few_repetitions_are_said(compared):
    found = compared([exit_row("handled", "on", 1000, spread=(1,))], [exit_row("handled", "on", 2000, spread=(1,))])
    assert found.pairs[0].verdict == Verdict.TOO_FEW and ": 1 of 1 rows; wanted --repeat 5" in found.warnings()[0]


def test_nothing_in_common(files, capsys):
    assert cli.main(["bench", "compare", *map(str, files([row()], [net_row()]))]) == os.EX_USAGE
    err = capsys.readouterr().err
    assert "a.json (blk)" in err and "b.json (net): no row that both have; wanted two runs" in err


def test_what_looks_like_markup_is_text(files, capsys):
    """On the terminal: brackets, and names between colons."""
    odd = exit_row("[/red][bold]:smile:", "on", 1000)
    assert cli.main(["bench", "compare", *map(str, files([odd], [odd]))]) == 0
    assert "[/red][bold]:smile:" in capsys.readouterr().out


def test_page(files, tmp_path, capsys):
    """What is slower is on top, and in every row a bar whose length is the logarithm's."""
    a = [row("on", 2000), row("on", 2000, ring=3), row("host", 8000), row("off", 2000), row("on", op="write")]
    b = [row("on", 4000), row("on", 8000, ring=3), row("host", 4000), row("off", 2040), row("on", op="write", depth=32)]
    page = tmp_path / "page.html"
    assert cli.main(["bench", "compare", *map(str, files(a, b)), "--html", str(page)]) == 1
    root = parse(page)
    box = root.find(".//*[@id='changed']")
    assert "bad" in classes(box)
    items = [words(item) for item in box.iter("li")]
    assert items == ["read 4 KiB x1 random, ring 3, on: 4.0 times as long as in A",
                     "read 4 KiB x1 random, on: 2.0 times as long as in A",
                     "read 4 KiB x1 random, host: 2.0 times as fast as in A"]
    bars = {float(bar.get("data-ratio")): bar for bar in root.iter("rect") if bar.get("data-ratio")}
    middle = float(root.find(".//td/svg/line").get("x1"))
    assert set(bars) == {2, 4, 0.5, 1.02}
    assert float(bars[4].get("width")) == pytest.approx(2 * float(bars[2].get("width")), abs=0.02)
    assert float(bars[0.5].get("width")) == float(bars[2].get("width"))
    assert float(bars[2].get("x")) == middle == float(bars[0.5].get("x")) + float(bars[0.5].get("width"))
    assert [classes(bars[ratio]) for ratio in (2, 0.5, 1.02)] == [["slower"], ["faster"], ["same"]]
    assert "only in A" in words(root) and "only in B" in words(root)


@pytest.mark.parametrize("a, b, kind, says", [
    (row(), row(), "good", "Nothing of ours is slower, beyond noise"),
    (row(spread=(1,)), row("on", 4000, (1,)), "unsure", "Nothing of ours is slower that could be told from noise")])
def test_page_without_anything_slower(files, tmp_path, a, b, kind, says):
    page = tmp_path / "page.html"
    assert cli.main(["bench", "compare", *map(str, files([a], [b])), "--html", str(page)]) == 0
    box = parse(page).find(".//*[@id='changed']")
    assert kind in classes(box) and says in words(box)
