"""A boot by a BIOS, some of whose instructions KVM does after the emulator."""

import json

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("capstone")
from tools.lockstep import boot
from tools.lockstep.candidates import Candidate
from tools.lockstep.comparing import Differs
from tools.lockstep.known import explained
from tools.lockstep.trial import Trial
from tools.lockstep.world import MODES
from vmm.executors import unicorn_cpu
from vmm.executors.instructions import decoded


@pytest.fixture(scope="session")
def seabios(kvm):
    from vmm.firmware import rom
    if not rom.NAMED["seabios"].exists():
        pytest.skip("no SeaBIOS on this machine (the Debian package seabios)")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    return path


def test_a_boot(seabios, disk, tmp_path, capsys):
    """The first instructions of SeaBIOS, from the reset vector on."""
    found = tmp_path / "found.json"
    assert boot.main([str(disk), "--steps", "300", "--stretch", "100", "--between", "1", "--json", str(found)]) == 0
    rows = {row["mode"]: row for row in json.loads(found.read_text())}
    assert rows.keys() >= {"real", "protected-0"} and sum(row["steps"] for row in rows.values()) >= 300
    assert all(row["compared"] and not row["differences"] for row in rows.values())
    assert "protected-0" in capsys.readouterr().out


def test_a_fault_is_found(seabios, disk, monkeypatch, capsys):
    step = unicorn_cpu.UnicornCpu.step

    def wrong(cpu, state):
        stop = step(cpu, state)
        state.general.rdx ^= 1
        return stop
    monkeypatch.setattr(unicorn_cpu.UnicornCpu, "step", wrong)
    assert boot.main([str(disk), "--steps", "4", "--stretch", "4"]) == 1
    assert "rdx: KVM" in capsys.readouterr().err


def test_modes_that_there_are_not(disk, capsys):
    with pytest.raises(SystemExit):
        boot.main([str(disk), "--modes", "vm86"])
    assert "no such; wanted some of" in capsys.readouterr().err


@pytest.mark.parametrize("name, field, kvm, emulator, is_known", [
    ("ltr", "tr.access", 0x8b, 0x89, True), ("ltr", "tr.access", 0x8b, 0x82, False),
    ("lldt", "ldt.access", 0x10000, 0x82, True), ("mov", "ldt.access", 0x10000, 0x82, False),
    ("ljmp", "cs.access", 0x9b, 0x9a, True), ("ljmp", "cs.access", 0x9b, 0x92, False),
    ("ljmp", "memory[0x828d]", "9bcf", "9acf", True), ("mov", "memory[0x828d]", "9bcf", "9acf", False),
])
def test_what_is_known_of_boots(name, field, kvm, emulator, is_known):
    code = {"ltr": "0f00d8", "lldt": "0f00d0", "ljmp": "66eaef8200000800", "mov": "89d8"}[name]
    instruction = Candidate(bytes.fromhex(code), decoded(bytes.fromhex(code), 0, 0))
    differs = Differs(field, kvm, emulator)
    trial = Trial("other", [instruction], instruction.code, 0)
    assert bool(explained(MODES["protected-0"], trial, differs, [differs])) == is_known
