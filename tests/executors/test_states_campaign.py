"""Generated states there and back (tools/states): some of what `python -m tools.states` does; and its parts."""

import json

import pytest

pytest.importorskip("unicorn")
from tests.scale import scaled
from tools.states import trips
from tools.states.__main__ import main, run, wrong
from tools.states.campaign import EACH
from tools.states.freedom import free_bits
from vmm.devmodel.view import to_dict
from vmm.executors.check import problems
from vmm.executors.generated import MODES, States
from vmm.executors.reset import reset
from vmm.executors.state import blank, bytes_of, write_all
from vmm.kvm.ring0 import emulated

NOT_THERE = ("pae", "vm86")     # of a KVM that emulates ring 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trip", ["kvm", "both"])
def test_kvm_there_and_back(kvm, trip, mode):
    found = run(trip, mode, 7, scaled(200), 60)
    if emulated() and mode in NOT_THERE:
        assert found.refused == 1 and not found.states
    else:
        assert found.states == scaled(200) and not wrong(found), found.examples


@pytest.mark.parametrize("mode", MODES)
def test_emulator_there_and_back(mode):
    found = run("emulator", mode, 7, scaled(EACH + 100), 60)
    assert found.states == scaled(EACH + 100) and not wrong(found), found.examples


@pytest.mark.parametrize("mode", MODES)
def test_free_bits_are_free(mode):
    """All of them inverted: it is a state yet that a CPU can be in, and much of it is another one."""
    states = States(reset(), MODES.index(mode))
    for _ in range(20):
        fields, state = states.next(mode), blank()
        write_all(state, fields)
        free = free_bits(fields, mode, {}, 64)
        bytes_of(state)[:] = (trips.number(state) ^ free).to_bytes(len(bytes_of(state)), "little")
        assert not list(problems(to_dict(state)))
        assert free.bit_count() > 16 * 64


def test_what_the_emulator_loses_is_found(monkeypatch):
    monkeypatch.setattr(trips.UnicornCpu, "take", lambda cpu, state: None)
    found = run("emulator", "long", 1, 10, 60)
    assert found.differences == 10 and "general.rax" in found.examples[0]


def test_what_kvm_loses_is_found(kvm, monkeypatch):
    """By `give`, as it reads all of it again, or by what comes out in the end."""
    read = trips.KvmState._read

    def without_r9(vcpu, state):
        read(vcpu, state)
        state.general.r9 = 5
    monkeypatch.setattr(trips.KvmState, "_read", without_r9)
    found = run("kvm", "long", 1, 10, 60)
    assert found.refused and "general.r9" in found.examples[0]
    monkeypatch.setattr(trips.KvmState, "_compare", lambda vcpu, state: None)
    found = run("kvm", "long", 1, 10, 60)
    assert found.differences >= 9 and "general.r9" in found.examples[0]


def test_the_command(tmp_path, capsys):
    into = tmp_path / "found.json"
    assert main(["--count", "10", "--mode", "real,long", "--trip", "emulator", "--json", str(into)]) == 0
    assert [(row["mode"], row["states"]) for row in json.loads(into.read_text())] == [("real", 10), ("long", 10)]
    with pytest.raises(SystemExit):
        main(["--mode", "imaginary"])
    assert "imaginary: no such" in capsys.readouterr().err
