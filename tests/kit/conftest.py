"""Devices that tests build: each in a folder of its own, once."""

import shutil
import sys
from pathlib import Path

import pytest

from vmm.kit.build import build
from vmm.kit.load import named

HERE = Path(__file__).parent


def _built(name: str, folder: Path):
    """NAME.py, built: its module.  NAME_guest.c is its guest, if that is there."""
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")
    for file in (f"{name}.py", f"{name}.c"):
        shutil.copy(HERE / file, folder)
    if (HERE / f"{name}_guest.c").exists():
        shutil.copy(HERE / f"{name}_guest.c", folder / "guest.c")
    found = named(str(folder / f"{name}.py"))
    build(found)
    yield found.module
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def gadget(tmp_path_factory):
    yield from _built("gadget", tmp_path_factory.mktemp("gadget"))


@pytest.fixture(scope="session")
def order(tmp_path_factory):
    yield from _built("order", tmp_path_factory.mktemp("order"))


@pytest.fixture(params=["off", "host", "on"])
def mode(request):
    """Who serves, in a machine without vCPUs."""
    if request.param == "on":
        request.getfixturevalue("bpf_run")
    return request.param
