"""`splitvmm doctor`: every finding says what it is for, and each thing amiss how to mend it."""

import json
from dataclasses import asdict

import pytest

from vmm.cli import doctor
from vmm.cli import main as cli
from vmm.errors import UserError
from vmm.machine import executing
from vmm.machine.executing import MISSING


def test_findings_are_complete():
    for check in doctor.CHECKS:
        finding = check()
        assert finding.what and finding.found and finding.use
        assert finding.good == (not finding.remedy)


def test_says_what_auto_takes(kvm, capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "offload=auto takes here: " in out and "kernel" in out


def test_without_kvm(monkeypatch, capsys):
    pytest.importorskip("unicorn")
    from vmm.kvm import vm
    real = vm.open_kvm
    monkeypatch.setattr(vm, "open_kvm", lambda: real("/dev/no-such-kvm"))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "KVM runs no guest here" in out and "missing KVM" in out
    assert "--executor emulator does; offload=auto takes there: host" in out


def test_without_kvm_and_emulator(monkeypatch, capsys):
    from vmm.kvm import vm
    real = vm.open_kvm
    monkeypatch.setattr(vm, "open_kvm", lambda: real("/dev/no-such-kvm"))

    def none(cpus):
        raise UserError(f"--executor emulator: {MISSING.format(error='no unicorn')}")
    monkeypatch.setattr(executing, "emulated_vm", none)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no guest can run here" in out and "missing emulator" in out and "splitvmm[emulator]" in out


def test_json(monkeypatch, capsys):
    """The same findings, and the same status."""
    findings = [doctor.Finding("this", True, "there", "that"), doctor.Finding("more", False, "none", "less", "get it")]
    monkeypatch.setattr(doctor, "CHECKS", [lambda finding=finding: finding for finding in findings])
    for choice, status, auto, because in (((True, "host, the best possible; no BPF, alas"), 0, "host",
                                           "the best possible; no BPF, alas"),
                                          ((False, "no /dev/kvm, alas"), 1, None, "no /dev/kvm, alas")):
        monkeypatch.setattr(doctor, "choice", lambda executor="kvm", choice=choice: choice)
        assert cli.main(["doctor", "--json"]) == status
        assert json.loads(capsys.readouterr().out) == {
            "findings": [asdict(finding) for finding in findings], "runs": choice[0], "emulator": choice[0],
            "offload_auto": auto, "because": because}


def test_without_bpf(kvm, monkeypatch, capsys):
    from vmm.kvm import bpf
    from vmm.kvm.bpf import BpfUnavailable
    from vmm.machine import ram

    def none():
        raise BpfUnavailable("no BPF today; and so on")
    monkeypatch.setattr(ram, "Maps", none)
    monkeypatch.setattr(bpf, "Maps", none)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "missing BPF" in out and "offload=auto takes here: host" in out


@pytest.mark.parametrize("text, good", [("none [integrity] confidentiality", True),
                                        ("none integrity [confidentiality]", False), ("odd", True)])
def test_lockdown(monkeypatch, text, good):
    monkeypatch.setattr(doctor.Path, "read_text", lambda self: text)
    assert doctor._lockdown().good == good
