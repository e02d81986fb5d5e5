"""Devices that tests build: each in a folder of its own, once."""

import shutil
import sys
from pathlib import Path

import pytest

from vmm.kit.build import build
from vmm.kit.load import named

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def gadget(tmp_path_factory):
    """gadget.py, built: its module."""
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")
    folder = tmp_path_factory.mktemp("gadget")
    for name in ("gadget.py", "gadget.c"):
        shutil.copy(HERE / name, folder)
    found = named(str(folder / "gadget.py"))
    build(found)
    yield found.module
    sys.path.remove(str(folder))


@pytest.fixture(params=["off", "host", "on"])
def mode(request):
    """Who serves, in a machine without vCPUs."""
    if request.param == "on":
        request.getfixturevalue("bpf_run")
    return request.param
