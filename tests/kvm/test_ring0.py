"""How fast a guest's kernel runs here, and what is made of it."""

import pytest

from tests.cli.test_cli import say
from vmm.cli import doctor
from vmm.kvm import ring0
from vmm.kvm.vm import KvmError
from vmm.paths import BUILD


@pytest.fixture(params=[0.4, 700.0])
def took(request, monkeypatch):
    monkeypatch.setattr(ring0, "instruction_ns", lambda: request.param)
    return request.param


def test_measured(kvm):
    """However long an instruction takes, it is less than a millisecond, and found without an error."""
    assert 0 <= ring0.instruction_ns() < 1e6
    assert bool(ring0.emulated()) == (ring0.instruction_ns() >= ring0.EMULATED_NS)


def test_code_counts_as_it_says():
    """Both loops, each with its port write, then back to just behind the first instruction."""
    assert ring0.CODE[-2] == 0xeb and len(ring0.CODE) + ring0.CODE[-1] - 256 == 5
    assert [ring0.CODE[at + 1:at + 5] for at in range(5, len(ring0.CODE) - 2, 9)] == [
        (1).to_bytes(4, "little"), ring0.LOOPS.to_bytes(4, "little")]


def test_run_warns_of_a_kernel_that_will_not_boot(capsys, kvm, took):
    """GUESTs of ours are none that would mind."""
    options = ["--mem", "4M", "--serial", "null", "--append", "count=5"]
    said = say(capsys, "run", "--kernel", BUILD / "exits.elf", *options)[2]
    assert said.count("KVM emulates ring 0 (700 ns an instruction): Linux will not boot on it; "
                      "wanted --executor emulator, or see tools/nested") == (took > 100)
    assert "emulates" not in say(capsys, "run", BUILD / "exits.elf", *options)[2]


def test_no_warning_where_kvm_runs_nothing(capsys, took):
    pytest.importorskip("unicorn")
    said = say(capsys, "run", "--kernel", BUILD / "exits.elf", "--executor", "emulator", "--mem", "4M",
               "--serial", "null", "--append", "count=5")[2]
    assert "ring 0" not in said


def test_doctor_says_the_same(took):
    finding = doctor._ring0()
    assert finding.good == (took < 1)
    if not finding.good:
        assert finding.found == "KVM emulates ring 0 (700 ns an instruction)" and "tools/nested" in finding.remedy


def test_kvm_that_cannot_tell(monkeypatch, capsys, kvm):
    def fails():
        raise KvmError("KVM, timing ring 0: exit 8; wanted one for a port")
    monkeypatch.setattr(ring0, "instruction_ns", fails)
    assert not doctor._ring0().good
    assert say(capsys, "run", "--kernel", BUILD / "exits.elf", "--mem", "4M", "--serial", "null", "--append",
               "count=5")[0] == 0
