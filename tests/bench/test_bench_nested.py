"""`splitvmm bench --in-nested`, but for the machine itself."""

import shlex
import subprocess
from pathlib import Path

import pytest

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
                Path(inside[inside.index("--json") + 1]).write_text("rows")
        return subprocess.CompletedProcess(words, 0)
    monkeypatch.setattr(nested.subprocess, "run", run)
    return started


def test_rows_come_by_a_folder_of_their_own(tmp_path, machine):
    """The folder of --json may be one that programs in the machine use, like /tmp: it is not shared."""
    assert main(["bench", "exits", "--in-nested", "--json", str(tmp_path / "rows")]) == 0
    (words,) = machine
    shared = Path(words[words.index("--rw") + 1])
    assert (tmp_path / "rows").read_text() == "rows"
    assert shared not in (tmp_path, *tmp_path.parents) and not shared.exists()


def test_nothing_is_shared_without_json(machine):
    assert main(["bench", "exits", "--in-nested"]) == 0
    assert "--rw" not in machine[0]
