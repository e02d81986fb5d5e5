"""kvm-unit-tests as guests: how unittests.cfg is read, and what becomes of a test that ends in one way or another."""

import json
import subprocess
import sys

import pytest
from test_multiboot_guest import build

from tools import unit_tests
from vmm.errors import UserError
from vmm.paths import ROOT

CONFIG = """
[one]
file = one.flat
smp = 2
test_args = 'a b'  c
qemu_params = -cpu max -m 2048
timeout = 7
[clock]
file = one.flat
test_args = "10 `date +%s`"
[narrow]
file = one.flat
arch = i386
[manual]
file = one.flat
groups = vmexit nodefault
[checked]
file = one.flat
check = {good} {bad}
[nested]
file = svm.flat
[absent]
file = absent.flat
# a comment
"""


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "x86"
    folder.mkdir()
    (folder / "one.flat").touch()
    (tmp_path / "value").write_text("Y\n")
    (folder / "unittests.cfg").write_text(CONFIG.format(good=f"{tmp_path}/value=Y", bad=f"{tmp_path}/value=N"))
    return tmp_path


def test_what_the_configuration_says(directory):
    found = {unit.name: unit for unit in unit_tests.units(directory, 0)}
    one = found["one"]
    assert (one.cpus, one.memory, one.seconds, one.path.name) == (2, "2048M", 7, "one.flat")
    assert (found["clock"].cpus, found["clock"].memory, found["clock"].seconds) == (1, "128M", unit_tests.SECONDS)
    assert {name: unit.why_not for name, unit in found.items()} == {
        "one": "", "clock": "", "narrow": "for i386 alone", "manual": "run by hand only, as unittests.cfg has it",
        "checked": f"wants N in {directory}/value", "nested": unit_tests.NESTED, "absent": "absent.flat was not built"}


def test_commands(directory, tmp_path):
    one, clock = unit_tests.units(directory, 3)[:2]
    command = unit_tests.splitvmm(one, "kvm", tmp_path)
    assert command[-2:] == ["--append", "a b c"] and "--executor" not in command and one.seconds == 3
    assert unit_tests.splitvmm(one, "other", tmp_path)[-2:] == ["--executor", "other"]
    assert unit_tests.qemu(clock, tmp_path)[-1].split()[1].isdigit()
    assert (tmp_path / "environment").read_text() == "NR_CPUS=1\nTEST_DEVICE=1\n"


@pytest.mark.parametrize("text, says", [
    (None, "wanted a directory of kvm-unit-tests"), ("file", "wanted unittests.cfg of kvm-unit-tests")])
def test_a_directory_of_something_else(tmp_path, text, says):
    if text:
        (tmp_path / "x86").mkdir()
        (tmp_path / "x86/unittests.cfg").write_text(text)
    with pytest.raises(UserError, match=says):
        unit_tests.units(tmp_path, 0)


@pytest.mark.parametrize("status, errors, verdict", [
    (1, "splitvmm: the guest ended with status 1", "passed"), (1, "Traceback", "broke"),
    (3, "splitvmm: the guest ended with status 3", "failed"), (None, "", "hung"),
    (63, "splitvmm: the guest ended with status 77\nsplitvmm: ... status 77; 63 stands for it", "skipped"),
    (63, "splitvmm: the guest ended with status 155", "failed"), (70, "splitvmm: KVM gave up on the guest", "broke"),
    (0, "splitvmm: the guest ended with status 0", "broke")])
def test_verdicts(status, errors, verdict):
    assert unit_tests.outcome("x", status, False, "", errors, 0).verdict == verdict


@pytest.mark.parametrize("status, errors, verdict", [
    (1, "", "passed"), (77, "", "skipped"), (3, "", "failed"), (0, "", "broke"), (-6, "", "broke"),
    (None, "KVM internal error. Suberror: 1\nRAX=0", "broke"), (None, "", "hung")])
def test_verdicts_of_qemu(status, errors, verdict):
    assert unit_tests.outcome("x", status, True, "", errors, 0).verdict == verdict


def test_what_is_counted():
    said = "PASS: a\r\nFAIL: b\r\nXFAIL: c\nXPASS: d\nSKIP: e\nnot PASS: f\n"
    found = unit_tests.outcome("x", 3, True, said, "", 1.25)
    assert (found.passed, found.failed, found.skipped, found.notes) == (2, 2, 1, ["FAIL: b", "XPASS: d"])
    fault = unit_tests.outcome("x", 3, True, "PASS: a\nUnhandled exception 6 #UD at ip 0x0\nSTACK: 0x0\n", "", 0)
    assert (fault.failed, fault.notes) == (0, ["Unhandled exception 6 #UD at ip 0x0"])
    broke = unit_tests.outcome("x", 70, False, "", "splitvmm: a\nsplitvmm: KVM gave up\nvCPU 0:\n  rip 0x0", 0)
    assert broke.notes == ["splitvmm: KVM gave up"]


def test_a_guest_that_fails(tmp_path, kvm):
    """From the command to its table, its JSON and its exit status."""
    folder = tmp_path / "x86"
    folder.mkdir()
    build(folder, 0x100000).rename(folder / "kernel.flat")
    (folder / "unittests.cfg").write_text("[kernel]\nfile = kernel.flat\n[other]\nfile = vmx.flat\n")
    done = subprocess.run([sys.executable, "-m", "tools.unit_tests", tmp_path, "--json", tmp_path / "json"],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "nested virtualization" in done.stdout
    found = json.loads((tmp_path / "json").read_text())
    assert [(one["name"], one["verdict"]) for one in found["tests"]] == [("kernel", "failed")]
    assert found["left out"] == {"other": unit_tests.NESTED}


def test_no_test_of_that_name(directory):
    done = subprocess.run([sys.executable, "-m", "tools.unit_tests", directory, "--only", "two"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "--only two: not in unittests.cfg; wanted one of absent" in done.stderr


@pytest.mark.parametrize("wrong, said", [
    (["--executor", "emu"], "'emu'; wanted kvm, auto or emulator"),
    (["--executor", "auto", "--qemu"], "not allowed with argument --executor"),
])
def test_refused_before_anything_runs(monkeypatch, capsys, wrong, said):
    monkeypatch.setattr("sys.argv", ["unit_tests", "/nowhere", *wrong])
    with pytest.raises(SystemExit):
        unit_tests.main()
    assert said in capsys.readouterr().err
