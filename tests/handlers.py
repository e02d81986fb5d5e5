"""Devices of a test's own: the example, and handlers built both ways."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmm.paths import ROOT


def make(folder: Path, *variables: str) -> subprocess.CompletedProcess:
    """A handler alone, by handler.mk; `variables` and targets are for make."""
    _clang()
    return subprocess.run(["make", "-s", "-f", ROOT / "tests/handler.mk", f"PY={sys.executable}", *variables],
                          cwd=folder, capture_output=True, text=True)


def build(folder: Path, device: str = "adder.py", python: Path | str = sys.executable) -> subprocess.CompletedProcess:
    """`splitvmm build`, as a device's author has it."""
    _clang()
    return subprocess.run([python, "-m", "vmm", "build", device], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT) if python == sys.executable else ""})


def _clang() -> None:
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")


def copy_example(folder: Path) -> Path:
    """The example, to be built or changed where it may be."""
    return shutil.copytree(ROOT / "examples/adder", folder, ignore=shutil.ignore_patterns("build"))
