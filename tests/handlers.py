"""A device of a test's own: its handler built both ways, with the flags of the example."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmm.paths import ROOT


def make(folder: Path, *variables: str) -> subprocess.CompletedProcess:
    """The example's Makefile in `folder`; `variables` are for make."""
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")
    return subprocess.run(["make", "-s", f"PY={sys.executable}", *variables], cwd=folder, capture_output=True,
                          text=True)


def copy_example(folder: Path) -> Path:
    """The example, to be built or changed where it may be."""
    return shutil.copytree(ROOT / "examples/adder", folder, ignore=shutil.ignore_patterns("build"))
