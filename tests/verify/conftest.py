"""What tests of the checker have in common."""

import shutil
import sys

import pytest

from vmm.kit.build import build
from vmm.kit.load import named
from vmm.kit.new import new
from vmm.paths import ROOT


@pytest.fixture
def module(clang, tmp_path, monkeypatch):
    """module(name, edits): the files of a new device or of an example, changed and built: its module."""
    made = []

    def make(name: str, *edits: tuple[str, str, str], virtio: bool | None = None):
        folder = tmp_path / name
        if virtio is None:
            shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
        else:
            new(name, virtio, folder)
        for file, old, becomes in edits:
            text = (folder / file).read_text()
            assert text.count(old) == 1, f"{file}: {old}"
            (folder / file).write_text(text.replace(old, becomes))
        made.append(name)
        monkeypatch.delitem(sys.modules, name, raising=False)
        found = named(str(folder / f"{name}.py"))
        build(found, wanted=("on", "host"))
        return found.module
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield make
    for name in made:       # what monkeypatch puts back was another one
        sys.modules.pop(name, None)
