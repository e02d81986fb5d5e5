"""The tutorial's device, built and run outside the tree."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.handlers import build, copy_example
from vmm.devmodel.abi import AbiMismatch, check_object
from vmm.paths import ROOT


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A copy of the example, built where it is."""
    folder = copy_example(tmp_path_factory.mktemp("examples") / "adder")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def run(adder, mode, *options):
    command = [sys.executable, "-m", "vmm", "run", "--device", f"adder.py,offload={mode}", "build/guest.elf", *options]
    return subprocess.run(command, cwd=adder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)


def test_sums(adder, mode, tmp_path):
    done = run(adder, mode, f"--stats=json,file={tmp_path}/stats")
    assert done.returncode == 0 and "800 sums are right" in done.stdout, done.stdout + done.stderr
    device, = json.loads((tmp_path / "stats").read_text())["devices"]
    counted = device["total"]
    numbers = [counted["handled"], counted["user_handled"], counted["declined"]["overflow"]]
    assert device["offload"] == mode and numbers == ([0, 800, 0] if mode == "off" else [768, 32, 32])


def test_what_the_verifier_refuses_is_told_in_a_few_lines(bpf, tmp_path):
    folder = copy_example(tmp_path / "adder")
    code = (folder / "adder.c").read_text()
    statement = "WRITE_ONCE(adder->page->sum, sum);"
    assert code.count(statement) == 1
    wrong = "((__u32 *)adder->page)[summand] = sum;"
    (folder / "adder.c").write_text(code.replace(statement, wrong))
    assert build(folder).returncode == 0
    done = run(folder, "on")
    number = code[:code.index(statement)].count("\n") + 1
    assert done.returncode == 64 and f" adder.c:{number}: the verifier refuses it: " in done.stderr.splitlines()[0]
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


@pytest.mark.parametrize("half, built", [("#ifdef __bpf__", ".bpf.o"), ("#ifndef __bpf__", ".so")])
@pytest.mark.parametrize("statement", WRITES_WHAT_USERSPACE_WRITES)
def test_c_that_writes_what_userspace_writes_does_not_compile(tmp_path, statement, half, built):
    folder = copy_example(tmp_path / "adder")
    code = (folder / "adder.c").read_text()
    marked = "\tWRITE_ONCE(adder->page->sum, sum);\n"
    assert code.count(marked) == 1
    (folder / "adder.c").write_text(code.replace(marked, f"{marked}{half}\n\t{{ {statement} }}\n#endif\n"))
    done = build(folder)
    assert done.returncode == 64 and done.stdout.splitlines()[-1] == f"building build/adder{built}"
    assert re.search("error: .*(const|qualifier|read-only)", done.stderr), done.stderr
