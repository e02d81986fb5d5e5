"""A source distribution and a wheel of this tree, and the wheel installed; made once for all tests."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmm.paths import ROOT

NOT_COPIED = (".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", "*_cache", ".hypothesis", "*.so", "*.o")


@dataclass
class Built:
    tree: Path      # what it was built from
    sdist: Path
    wheel: Path


@dataclass
class Installed:
    venv: Path
    elsewhere: Path     # a folder that has nothing to do with splitvmm

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def vmm(self) -> Path:
        return next(self.venv.glob("lib/python3*/site-packages/vmm"))

    def run(self, *command, **options) -> subprocess.CompletedProcess:
        """A program of the environment, on a machine that has no other."""
        return subprocess.run([self.venv / "bin" / command[0], *map(str, command[1:])], cwd=self.elsewhere,
                              env={"PATH": str(self.venv / "bin")}, capture_output=True, text=True, timeout=120,
                              **options)


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, f"{folder} has {found}; wanted one {pattern}"
    return found[0]


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    tree, into = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    done = subprocess.run([sys.executable, "-m", "tools.wheel", into], cwd=tree, capture_output=True, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(tree, only(into, "*.tar.gz"), only(into, "*.whl"))


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory) -> Installed:
    there = Installed(tmp_path_factory.mktemp("installed") / "venv", tmp_path_factory.mktemp("elsewhere"))
    for command in ([sys.executable, "-m", "venv", there.venv],
                    [there.python, "-m", "pip", "install", "--disable-pip-version-check", built.wheel]):
        done = subprocess.run(command, cwd=there.elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return there
