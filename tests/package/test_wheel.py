"""What is given to others: a source distribution that lacks nothing, and a wheel that works where there is
neither a checkout nor a compiler."""

import os
import re
import subprocess
import tarfile
import zipfile
from email import message_from_string

import pytest

from tests.handlers import build, copy_example
from vmm.devmodel.headers import state_layouts
from vmm.paths import ROOT

GENERATED = re.compile(r"PKG-INFO|setup\.cfg|splitvmm\.egg-info/.*")
LEFT_OUT = re.compile(r"\.gitignore|\.ci/.*")       # of the repository's own


def files(wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def information(contents, name) -> str:
    return next(data.decode() for path, data in contents.items() if path.endswith(f".dist-info/{name}"))


def test_source_distribution_is_complete(built):
    with tarfile.open(built.sdist) as archive:
        found = {member.name.partition("/")[2] for member in archive if member.isfile()}
    wanted = {str(path.relative_to(built.tree)) for path in built.tree.rglob("*") if path.is_file()}
    assert {name for name in wanted - found if not LEFT_OUT.fullmatch(name)} == set()
    assert {name for name in found - wanted if not GENERATED.fullmatch(name)} == set()


def test_wheel_is_for_any_python_and_linux(built):
    name, _version, python, abi, platform = built.wheel.stem.split("-")
    assert (name, python, abi) == ("splitvmm", "cp311", "abi3") and platform.startswith("manylinux_2_")


def test_wheel_has_all_parts_and_no_more(built):
    names = set(files(built.wheel))
    headers = {f"vmm/built/include/{path.relative_to(ROOT / 'kernel_devices')}"
               for path in (ROOT / "kernel_devices").rglob("*.h")}
    handlers = {f"vmm/built/{stem}{kind}" for stem in ("exit_path", *state_layouts()) for kind in (".bpf.o", ".so")}
    records = {f"vmm/built/{stem}{kind}.abi" for stem in state_layouts() for kind in (".bpf.o", ".so")}
    modules = {"vmm/kvm/_kvm.so", "vmm/kvm/_bpf.so", "vmm/sync/_shared.so", "vmm/virtqueue/_uring.so",
               "vmm/bench/_load.so"}
    others = {"vmm/py.typed", "vmm/built/dsdt.aml", "vmm/built/check.elf", "vmm/built/real_mode.bin",
              "vmm/built/bpf_run.bpf.o", "vmm/built/guests/guest.c", "vmm/built/guests/guest.ld",
              "vmm/kit/templates/virtio/guest.c.in"}
    assert {*headers, *handlers, *records, *modules, *others} <= names
    python = {str(path.relative_to(ROOT)) for path in (ROOT / "vmm").rglob("*.py")} - {"vmm/native/build.py"}
    assert python == {name for name in names if name.endswith(".py")}
    assert not [name for name in names if re.search(r"\.(pyc|md)$|/native/|^(?!vmm/built/guests/).*\.c$", name)]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"vmm", "splitvmm", "splitvmm.libs"}


def test_wheel_names_no_place_of_the_machine_that_built_it(built):
    told = [name for name, data in files(built.wheel).items()
            if any(place in data for place in (str(ROOT).encode(), b"/build-via-sdist-", b"/build-env-",
                                               str(built.tree.parent).encode()))]
    assert not told


def test_licences(built):
    contents = files(built.wheel)
    metadata = message_from_string(information(contents, "METADATA"))
    assert metadata["License-Expression"].startswith(
        "MIT AND (GPL-2.0-only OR MIT) AND (LGPL-2.1-only OR BSD-2-Clause)")
    named = metadata.get_all("License-File")
    assert {"LICENSE", "LICENSES/MIT.txt", "LICENSES/GPL-2.0-only.txt", "bundled/libbpf1.txt"} <= set(named)
    for name in named:
        assert information(contents, f"licenses/{name}")
    bundled = {name.partition("-")[0] for name in contents if name.startswith("splitvmm.libs/")}
    said = information(contents, "licenses/bundled/README.txt")
    told = {f"splitvmm.libs/{library}" for library in re.findall(r"^(lib[a-z]+)", said, re.MULTILINE)}
    assert bundled and told == bundled


def test_help(installed):
    done = installed.run("splitvmm", "--help")
    assert done.returncode == 0 and "doctor" in done.stdout, done.stderr
    assert "@check" in installed.run("splitvmm", "run", "--help").stdout


def test_doctor(installed):
    done = installed.run("splitvmm", "doctor")
    assert done.returncode == (0 if os.path.exists("/dev/kvm") else 1), done.stdout + done.stderr
    assert re.search(r"ok +handlers +│ built", done.stdout)
    assert re.search(r"missing compilers +│ not found", done.stdout)


def test_every_module_is_there(installed):
    done = installed.run("python", "-c", "import vmm.kvm._kvm, vmm.kvm._bpf, vmm.sync._shared, vmm.virtqueue._uring, "
                         "vmm.bench._load; print(vmm.__file__)")
    assert done.returncode == 0 and done.stdout.startswith(str(installed.venv)), done.stdout + done.stderr


def written(folder) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("mode", ["host", "on"])
def test_guest(installed, mode, kvm, request):
    """A guest that came with it; nothing is written where it is installed, which may be read-only."""
    if mode == "on":
        request.getfixturevalue("bpf")
    disk = installed.elsewhere / "disk"
    disk.write_bytes(bytes(4 << 20))
    before = written(installed.vmm)
    done = installed.run("splitvmm", "run", "@check", "--mem", "64M", "--cmdline", "rounds=1", "--disk",
                         f"path={disk},offload={mode}")
    assert done.returncode == 0 and "check: passed" in done.stdout, done.stdout + done.stderr
    assert written(installed.vmm) == before


@pytest.fixture(scope="module")
def adder(installed, tmp_path_factory):
    """The tutorial's device, built with the headers of the installation."""
    folder = copy_example(tmp_path_factory.mktemp("examples") / "adder")
    done = build(folder, python=installed.python)
    assert done.returncode == 0, done.stderr
    return folder


def test_device_of_ones_own(installed, adder, mode):
    """Its handler is up to date; to see that, `run` looks for the compiler."""
    done = subprocess.run([installed.venv / "bin" / "splitvmm", "run", "--device", f"{adder}/adder.py,offload={mode}",
                           adder / "build" / "guest.elf"], cwd=installed.elsewhere, capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"]}, timeout=120)
    assert done.returncode == 0 and done.stdout == "adder: 800 sums are right\n", done.stdout + done.stderr
    assert "building" not in done.stderr


@pytest.mark.parametrize("given, says", [
    ({"CLANG": "no-clang"}, "not found: no-clang; wanted the Debian packages clang,"),
    ({"CC": "no-cc"}, "not found: no-cc; wanted the Debian packages gcc,"),
    ({"CC": "false", "CLANG": "none"}, ("not found: none <bpf/libbpf.h> <linux/kvm.h> <stdio.h>; wanted the Debian "
                                        "packages clang libbpf-dev linux-libc-dev libc6-dev,")),
])
def test_what_building_lacks_is_said_at_once(given, says):
    done = subprocess.run([ROOT / "tools" / "check_needed"], env={**os.environ, "CC": "cc", "CLANG": "true", **given},
                          capture_output=True, text=True)
    assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1
