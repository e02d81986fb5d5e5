"""The tutorial's device, built and run outside the tree."""

import os
import re
import subprocess
import sys

import pytest

from tests.handlers import copy_example, make
from vmm.devmodel.abi import AbiMismatch, check_object
from vmm.paths import ROOT


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A copy of the example, built where it is."""
    folder = copy_example(tmp_path_factory.mktemp("examples") / "adder")
    done = make(folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(adder, mode):
    return subprocess.run([sys.executable, "adder.py", mode], cwd=adder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)


def test_sums(adder, mode):
    done = run(adder, mode)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = [int(n) for n in re.findall(r"(?:half|overflow|carries) (\d+)", done.stdout)]
    assert numbers == ([0, 800, 0, 32] if mode == "off" else [768, 32, 32, 32])


def test_what_the_verifier_refuses_is_told_in_a_few_lines(bpf, tmp_path):
    folder = copy_example(tmp_path / "adder")
    code = (folder / "adder.c").read_text()
    statement = "WRITE_ONCE(adder->page->sum, sum);"
    assert code.count(statement) == 1
    wrong = "((__u32 *)adder->page)[summand] = sum;"
    (folder / "adder.c").write_text(code.replace(statement, wrong))
    assert make(folder).returncode == 0
    done = run(folder, "on")
    number = code[:code.index(statement)].count("\n") + 1
    assert done.returncode == 1 and done.stderr.startswith(f"adder: adder.c:{number}: the verifier refuses it: ")
    assert done.stderr.splitlines()[1:] == [
        f"    {wrong}", "(the whole log: --verifier-log FILE, or MachineConfig.verifier_log)"]


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


WRITES_WHAT_USERSPACE_WRITES = [
    "adder->state->control.user.handled = 1;",
    "adder->state->control.user.handled++;",
    "WRITE_ONCE(adder->state->control.ownership.holder, SIDE_KERNEL);",
    "fetch_add(&adder->state->control.user.handled, 1);",
    "exchange(&adder->state->control.ownership.holder, SIDE_KERNEL);",
    "*(__u32 *)&adder->state->control.ownership.generation = 1;",
    "__u64 *handled = &adder->state->control.user.handled; *handled = 1;",
    "copy(&adder->state->control.user, adder->page, 8);",
]


@pytest.mark.parametrize("target", ["build/adder.bpf.o", "build/adder.so"])
@pytest.mark.parametrize("statement", WRITES_WHAT_USERSPACE_WRITES)
def test_c_that_writes_what_userspace_writes_does_not_compile(tmp_path, statement, target):
    folder = copy_example(tmp_path / "adder")
    code = (folder / "adder.c").read_text()
    marked = "\tWRITE_ONCE(adder->page->sum, sum);\n"
    assert code.count(marked) == 1
    (folder / "adder.c").write_text(code.replace(marked, f"{marked}\t{{ {statement} }}\n"))
    done = make(folder, target)
    assert done.returncode and re.search("error: .*(const|qualifier|read-only)", done.stderr), done.stderr
