"""`splitvmm bench --in-nested`, but for the machine itself."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.bench.made import exit_row, write
from tests.bench.pages import parse, words
from vmm.bench import nested
from vmm.cli.main import main


@pytest.fixture
def machine(monkeypatch):
    """Stands for the nested machine: what it was started with, each time."""
    started = []

    def run(words, **_):
        if "tools.nested.run" in words:
            started.append(words)
            inside = shlex.split(words[-1])
            if "--json" in inside:
                write(Path(inside[inside.index("--json") + 1]), exit_row("claimed", "off", 1234))
        return subprocess.CompletedProcess(words, 0)
    monkeypatch.setattr(nested.subprocess, "run", run)
    return started


def test_rows_come_by_a_folder_of_their_own(tmp_path, machine):
    """The folder of --json may be one that programs in the machine use, like /tmp: it is not shared."""
    assert main(["bench", "exits", "--in-nested", "--json", str(tmp_path / "rows")]) == 0
    (words,) = machine
    shared = Path(words[words.index("--rw") + 1])
    assert "claimed" in (tmp_path / "rows").read_text()
    assert shared not in (tmp_path, *tmp_path.parents) and not shared.exists()


def test_a_page_is_drawn_here(tmp_path, machine):
    """Of the rows there, which nobody else asked for."""
    assert main(["bench", "exits", "--in-nested", "--html", str(tmp_path / "page")]) == 0
    assert "1.23 µs" in words(parse(tmp_path / "page")) and "--html" not in machine[0][-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "page"]


def test_options_are_passed_on(machine):
    assert main(["bench", "linux", "--in-nested", "--peer", "qemu,vhost", "--quick", "--repeat", "3", "--one-cpu",
                 "--modes", "on,off", "--directory", "/dev/shm"]) == 0
    inside = shlex.split(machine[0][-1])
    assert inside[inside.index("bench"):] == ["bench", "linux", "--modes", "on,off", "--repeat", "3", "--directory",
                                              "/dev/shm", "--peer", "qemu,vhost", "--quick", "--one-cpu"]


def test_what_disks_are_asked_for_is_passed_on(machine):
    assert main(["bench", "blk", "--in-nested", "--on", "xfs,block", "--vcpus", "1,2"]) == 0
    inside = shlex.split(machine[0][-1])
    assert inside[-4:] == ["--on", "xfs,block", "--vcpus", "1,2"]


def test_nothing_is_shared_without_json(machine):
    assert main(["bench", "exits", "--in-nested"]) == 0
    assert "--rw" not in machine[0]


def test_as_many_vms_are_asked_for_there_and_no_modes(machine):
    """Which `bench host` has none of."""
    assert main(["bench", "host", "--in-nested", "--vms", "1,4"]) == 0
    inside = shlex.split(machine[0][-1])
    assert inside[inside.index("--vms") + 1] == "1,4" and "--modes" not in inside
