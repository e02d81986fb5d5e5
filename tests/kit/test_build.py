"""A device's parts are built anew when, and only when, something that they are made of has changed."""

import sys

import pytest

from vmm.kit.build import build
from vmm.kit.load import named
from vmm.kit.new import new

ALL = ["handle.gen.h", "handle.bpf.o", "handle.so", "guest.elf"]


@pytest.fixture
def device(clang, tmp_path, monkeypatch):
    """A new one, built: its folder."""
    monkeypatch.setattr("sys.path", [*sys.path])
    folder = tmp_path / "a folder"
    new("handle", False, folder)
    assert made(folder) == ALL
    yield folder
    sys.modules.pop("handle", None)


def made(folder) -> list[str]:
    return [path.name for path in build(named(str(folder / "handle.py")))]


def test_nothing_is_built_twice(device):
    assert made(device) == []


@pytest.mark.parametrize("file, parts", [("handle.c", ALL[1:3]), ("guest.c", ALL[3:]), ("build/handle.gen.h", ALL)])
def test_what_a_file_is_part_of_is_built_anew(device, file, parts):
    with open(device / file, "a") as text:
        text.write("/* changed */\n")
    assert made(device) == parts
    assert made(device) == []
