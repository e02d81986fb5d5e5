"""Imports and includes obey the arrows: devmodel -> sync -> vmm -> tools -> tests, and
generated headers -> common headers -> one folder a device."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {     # room -> first words of the project's modules that it may import
    "vmm/devmodel": ("vmm.devmodel",),
    "vmm/sync": ("vmm.devmodel", "vmm.sync"),
    "vmm": ("vmm",),
    "tools": ("vmm", "tools"),
    "tests": ("vmm", "tools", "tests"),
}
OURS = ("vmm", "tools", "tests", "examples")


def room_of(path: Path) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return max((room for room in ALLOWED if relative.startswith(room + "/")), key=len)


def imports(path: Path) -> list[str]:
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[:len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


PYTHON = [p for room in ("vmm", "tools", "tests") for p in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports(path):
    allowed = ALLOWED[room_of(path)]
    for name in imports(path):
        if name.split(".")[0] in OURS:
            assert any(name == a or name.startswith(a + ".") for a in allowed), f"{path} imports {name}"


C = sorted([*(ROOT / "kernel_devices").rglob("*.h"), *(ROOT / "kernel_devices").rglob("*.c")])


@pytest.mark.parametrize("path", C, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_includes(path):
    """A device includes common headers and its own; a common one no device's; a generated one
    only generated ones."""
    home = ROOT / "kernel_devices"
    for name in re.findall(r'#include "([^"]+)"', path.read_text()):
        target = (path.parent / name).resolve()
        assert home in target.parents, f"{path} includes {name}"
        if path.name.endswith(".gen.h"):
            assert target.name.endswith(".gen.h")
        if target.parent != home:
            assert target.parent == path.parent, f"{path} includes {name} of another device"
