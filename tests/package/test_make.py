"""`make` on a machine that has nothing yet, and the demonstration to its end."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import FIRST
from vmm.paths import ROOT


def commands(path: str) -> str:
    """What `make build` would run where programs are found in `path`."""
    return subprocess.run([shutil.which("make"), "-n", "-B", "build", "CC=cc", "CLANG=clang"], cwd=ROOT, check=True,
                          capture_output=True, text=True, env={"PATH": path}).stdout


def test_no_command_depends_on_what_was_installed_when_make_began(tmp_path):
    """It reads the Makefile before it installs the compilers."""
    assert "clang" in commands(os.environ["PATH"])
    assert commands(str(tmp_path)) == commands(os.environ["PATH"])


@pytest.mark.parametrize("options", [[], ["--executor", "emulator"]], ids=["default", "emulator"])
def test_demo(tmp_path, options):
    done = subprocess.run([sys.executable, "-m", "tools.demo", "--brief", *options], cwd=ROOT, capture_output=True,
                          text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0 and re.search(r"^demo: done in \d+ s$", done.stdout, re.MULTILINE), done.stderr


def test_files_that_are_begun_first_are_there():
    assert not [name for name in FIRST if not (ROOT / name).is_file()]
