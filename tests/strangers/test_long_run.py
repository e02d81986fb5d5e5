"""`python -m tools.strangers`: what each target begins with is read."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tools.strangers import TARGETS
from vmm.errors import UserError
from vmm.paths import ROOT
from vmm.sync.snapshot import SnapshotError

REFUSED = {"elf", "bzimage", "multiboot"}       # some, or all, as they are cut off


@pytest.mark.parametrize("name", TARGETS)
def test_beginnings(name):
    read, seeds = TARGETS[name]()
    assert seeds
    for seed in seeds:
        try:
            read(seed)
        except (UserError, SnapshotError):
            assert name in REFUSED


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is installed")
def test_without_atheris():
    done = subprocess.run([sys.executable, "-m", "tools.strangers", "elf"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "strangers: no atheris; wanted it installed: pip install atheris\n")
