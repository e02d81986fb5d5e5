"""The tutorial's device, built and run outside the tree."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from vmm.devmodel.abi import AbiMismatch, check_object
from vmm.paths import ROOT


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A copy of the example, built where it is."""
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")
    folder = tmp_path_factory.mktemp("examples") / "adder"
    shutil.copytree(ROOT / "examples/adder", folder, ignore=shutil.ignore_patterns("build"))
    subprocess.run(["make", "-s", f"SPLITVMM={ROOT}", f"PY={sys.executable}"], cwd=folder, check=True)
    return folder


def run(adder, mode):
    return subprocess.run([sys.executable, "adder.py", mode], cwd=adder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)


def test_sums(adder, mode):
    done = run(adder, mode)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = [int(n) for n in re.findall(r"(?:half|overflow|carries) (\d+)", done.stdout)]
    assert numbers == ([0, 800, 0, 32] if mode == "off" else [768, 32, 32, 32])


def test_builds_without_changing_ours(adder):
    assert not subprocess.run(["git", "status", "--porcelain", "examples", "vmm", "kernel_devices"], cwd=ROOT,
                              capture_output=True, text=True).stdout.count("adder/build")


def test_changed_schema_is_refused_by_name(adder, tmp_path):
    """A register moved, and nothing rebuilt."""
    code = (adder / "adder.py").read_text().replace(
        'reg(0x08, u32, "low', 'reg(0x10, u32, "low')
    (tmp_path / "moved.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    try:
        import moved

        from vmm.devmodel import layout_device
        with pytest.raises(AbiMismatch, match="field sum at offset 0x8; wanted 0x10"):
            check_object(adder / "build/adder.bpf.o", [layout_device(moved.Adder).page])
    finally:
        sys.path.remove(str(tmp_path))
