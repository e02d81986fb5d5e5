"""A source distribution and a wheel of this tree, and the wheel installed; made once for all tests."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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
def once(tmp_path_factory):
    """once(name, make): a folder that `make` has filled, for all processes of a run: whoever comes first makes it, and
    the others wait (pytest-xdist: their folders are in one of the run's)."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        there, made = common / name, common / f"{name}.made"
        with open(common / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(there, ignore_errors=True)    # of one that failed
                there.mkdir()
                make(there)
                made.touch()
        return there
    return folder


def run(*command, **options) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def build_in(folder: Path) -> None:
    shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(*NOT_COPIED))
    run(sys.executable, "-m", "tools.wheel", folder / "dist", cwd=folder / "tree",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


@pytest.fixture(scope="session")
def built(once) -> Built:
    folder = once("wheel", build_in)
    return Built(folder / "tree", only(folder / "dist", "*.tar.gz"), only(folder / "dist", "*.whl"))


@pytest.fixture(scope="session")
def installed(built, once, tmp_path_factory) -> Installed:
    def install_in(folder: Path) -> None:
        run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        run(folder / "venv/bin/python", "-m", "pip", "install", "--disable-pip-version-check", built.wheel, cwd=folder)
    return Installed(once("installed", install_in) / "venv", tmp_path_factory.mktemp("elsewhere"))
