"""How `splitvmm bench` is asked for; what it then measures is in tests/bench."""

import os

import pytest

from tests.bench.made import row, write
from vmm.bench import run
from vmm.bench.rows import Wanted
from vmm.cli import main as cli


@pytest.fixture
def wanted(monkeypatch):
    """What was asked for, which is not measured."""
    found = []
    monkeypatch.setattr(run, "main", lambda one: found.append(one) or 0)
    return found


@pytest.mark.parametrize("words, says", [
    (["exits"], Wanted("exits", ["off", "host", "on"], [])),
    (["blk", "--peer", "qemu", "--quick"], Wanted("blk", ["off", "host", "on"], ["qemu"], quick=True)),
    (["blk", "--on", "tmpfs,ext4"], Wanted("blk", ["off", "host", "on"], [], storages=("tmpfs", "ext4"))),
    (["blk", "--vcpus", "1,4"], Wanted("blk", ["off", "host", "on"], [], vcpus=(1, 4))),
    (["net", "--modes", "on,off", "--one-cpu", "--repeat", "3"], Wanted("net", ["on", "off"], [], 3, one_cpu=True)),
    (["linux", "--peer", "qemu,vhost"], Wanted("linux", ["off", "host", "on"], ["qemu", "vhost"])),
    (["shadow", "--modes", "host"], Wanted("shadow", ["host"], [])),
    (["start", "--peer", "qemu"], Wanted("start", ["off", "host", "on"], ["qemu"])),
    (["host"], Wanted("host", ["on"], [], vms=(1, 8, 64))),
    (["host", "--vms", "3"], Wanted("host", ["on"], [], vms=(3,))),
    (["host", "--quick"], Wanted("host", ["on"], [], quick=True, vms=(1, 2)))])
def test_what_is_measured(wanted, words, says):
    assert cli.main(["bench", *words]) == 0 and wanted == [says]


def test_files_to_write(wanted, tmp_path):
    json, html = tmp_path / "rows.json", tmp_path / "page.html"
    assert cli.main(["bench", "blk", "--directory", "/tmp", "--json", str(json), "--html", str(html)]) == 0
    assert (wanted[0].json, wanted[0].html, str(wanted[0].directory)) == (json, html, "/tmp")


@pytest.mark.parametrize("words, says", [
    (["blk", "--modes", "on,on"], "--modes on,on: on given twice"),
    (["net", "--peer", "qemu,qemu"], "qemu given twice"),
    (["exits", "--executors", ""], "--executors ''; wanted kvm, auto, or a number of basic blocks"),
    (["exits", "--repeat", "0"], "--repeat '0'; wanted a whole number from 1 to 100"),
    (["exits", "--html", "/nowhere/page"], "--html /nowhere/page: no folder /nowhere"),
    (["exits", "--json", "/"], "--json /: a folder; wanted a file to write"),
    (["exits", "--json", "same", "--html", "./same"], "--html same: the same file as same; wanted another one"),
    (["host", "--vms", "0"], "--vms '0'; wanted a whole number from 1 to 512"),
    (["host", "--vms", "8,8"], "8 given twice"),
    (["draw", "same", "./same"], "FILE same: the same file as same"),
    (["draw", "/none", "page"], "/none: No such file"),
    (["compare", "/none/a", "/none/b"], "/none/a: No such file"),
    (["compare", "a", "b", "--html", "b"], "--html b: the same file as b")])
def test_mistakes_are_said_before_anything_is_measured(wanted, words, says, capsys):
    assert cli.main(["bench", *words]) == os.EX_USAGE and not wanted
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


@pytest.mark.parametrize("words, usage", [
    ([], "usage: splitvmm bench [-h] WHAT"), (["disk"], "usage: splitvmm bench [-h] WHAT"),
    (["exits", "--no-such"], "usage: splitvmm bench exits "), (["compare", "a"], "usage: splitvmm bench compare "),
    (["draw", "a"], "usage: splitvmm bench draw "), (["draw", "a", "b", "c"], "usage: splitvmm bench draw ")])
def test_usage_is_that_of_what_was_asked(words, usage, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", *words])
    assert end.value.code == os.EX_USAGE and capsys.readouterr().err.startswith(usage)


@pytest.mark.parametrize("what", ["exits", "blk", "net", "linux", "shadow", "start", "host", "compare", "draw"])
def test_help(what, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", what, "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and f"splitvmm bench {what}" in out
    assert ("--peer" in out) == (what in ("blk", "net", "linux", "start"))


def test_draw_says_nothing(tmp_path, capsys):
    assert cli.main(["bench", "draw", str(write(tmp_path / "rows", row())), str(tmp_path / "page")]) == 0
    assert capsys.readouterr() == ("", "") and (tmp_path / "page").read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written(tmp_path, capsys):
    rows = write(tmp_path / "rows", row())
    assert cli.main(["bench", "draw", str(rows), "/dev/full"]) == os.EX_IOERR
    assert "No space left" in capsys.readouterr().err
