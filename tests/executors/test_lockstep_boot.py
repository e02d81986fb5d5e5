"""A boot by a BIOS, some of whose instructions KVM does after the emulator."""

import json

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("capstone")
from tools.lockstep import boot
from vmm.executors import unicorn_cpu


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
