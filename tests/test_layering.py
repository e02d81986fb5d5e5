"""Imports and includes obey the floors: a folder imports from those it is allowed to, deferred
imports included, and a device's handler includes common headers and its own."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# folder -> the others that it may import from; each adds one floor
LEAVES = ("vmm/paths", "vmm/errors", "vmm/files", "vmm/values", "vmm/timeline")
DEVMODEL = ("vmm/devmodel",)
SYNC = (*DEVMODEL, "vmm/sync")
KVM = (*SYNC, "vmm/kvm", *LEAVES)
CHIPS = (*DEVMODEL, "vmm/chips", "vmm/errors", "vmm/values")
DEVICE = (*KVM, "vmm/device")
EXECUTORS = (*KVM, "vmm/executors")
VIRTQUEUE = (*DEVICE, "vmm/virtqueue")
PCI = (*DEVICE, "vmm/pci")
VIRTIO = (*VIRTQUEUE, "vmm/pci", "vmm/virtio")
DEVICES = (*VIRTIO, "vmm/devices")
OFFLOAD = (*DEVICE, "vmm/offload")
BOOT = (*KVM, "vmm/boot")
EMULATED = (*EXECUTORS, *CHIPS, "vmm/emulated")
FIRMWARE = (*KVM, "vmm/firmware")
VGA = (*PCI, "vmm/vga")
MACHINE = (*EMULATED, *DEVICES, "vmm/executors", "vmm/offload", "vmm/boot", "vmm/firmware", "vmm/vga",
           "vmm/machine")
TOP = (*SYNC, "vmm/top", *LEAVES)
BENCH = (*MACHINE, "vmm/top", "vmm/bench")
TRACEFILE = (*BENCH, "vmm/tracefile")
TESTING = (*MACHINE, "vmm/testing")
KIT = (*TESTING, "vmm/kit")
VERIFY = (*TESTING, *TRACEFILE, "vmm/verify")
CLI = (*TRACEFILE, *KIT, *VERIFY, *TOP, "vmm/cli")
TOOLS = ("vmm", "tools")
ALLOWED = {
    "vmm/devmodel": DEVMODEL, "vmm/sync": SYNC, "vmm/kvm": KVM, "vmm/executors": EXECUTORS,
    "vmm/chips": CHIPS, "vmm/emulated": EMULATED,
    "vmm/device": DEVICE, "vmm/virtqueue": VIRTQUEUE,
    "vmm/pci": PCI, "vmm/virtio": VIRTIO, "vmm/devices": DEVICES, "vmm/offload": OFFLOAD, "vmm/boot": BOOT,
    "vmm/firmware": FIRMWARE, "vmm/vga": VGA,
    "vmm/machine": MACHINE, "vmm/bench": BENCH, "vmm/testing": TESTING, "vmm/kit": KIT,
    "vmm/tracefile": TRACEFILE, "vmm/verify": VERIFY, "vmm/top": TOP, "vmm/cli": CLI,
    "vmm/native": (), "vmm/paths": (), "vmm/errors": (), "vmm/files": (), "vmm/timeline": (),
    "vmm/values": ("vmm/errors",),
    "vmm/__init__": CLI, "vmm/__main__": CLI, "tools": TOOLS, "tests": (*TOOLS, "tests"), "examples": ("vmm",),
}
OURS = ("vmm", "tools", "tests", "examples")


def room_of(place: str) -> str:
    """The longest name in ALLOWED that a path without its ending lies in."""
    return max((room for room in ALLOWED if place == room or place.startswith(room + "/")), key=len)


def imports(path: Path) -> list[str]:
    """Modules of ours that a file imports, anywhere in it, as paths."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[:len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found += [f"{module}.{alias.name}" for alias in node.names]
    return [name.replace(".", "/") for name in found if name.split(".")[0] in OURS]


PYTHON = [p for top in OURS for p in sorted((ROOT / top).rglob("*.py"))]


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports(path):
    room = room_of(path.relative_to(ROOT).with_suffix("").as_posix())
    for name in imports(path):
        assert any(name == a or name.startswith(a + "/") for a in ALLOWED[room]) or \
            (name.count("/") == 1 and room in ("tools", "tests", "examples")), f"{path} imports {name}"


def test_every_folder_has_its_floor_and_says_what_it_is():
    for folder in [p for p in (ROOT / "vmm").rglob("*") if p.is_dir() and list(p.glob("*.py"))]:
        name = folder.relative_to(ROOT).as_posix()
        assert room_of(name)
        if name != "vmm/native":
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), f"{name} says nothing of itself"


def test_the_floors_have_no_circle():
    """A folder that another may import from may not import from that one."""
    for room, allowed in ALLOWED.items():
        for other in allowed:
            if other != room and other in ALLOWED:
                assert room not in ALLOWED[other], f"{room} and {other} may import each other"


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


def test_no_two_files_of_tests_have_one_name():
    """Folders of tests are no packages: pytest would refuse the second one."""
    count = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, files in count.items() if files > 1]
