"""How a run ends whose guest panics, restarts, or does nothing else."""

import os

import pytest

from tests.cli.test_cli import say
from vmm.cli.reboots import LOOP, QUICK_S, Reboots
from vmm.machine.machine import Machine

PANIC, CRASH, RESET, OFF, EXIT = (0x505, 1), (0x505, 2), (0x682, 1), (0x680, 0x34), (0x501, 7)


def real_mode(*writes):
    """Code that writes to ports, then waits for ever: mov $port, %dx; mov $value, %al; out %al, %dx."""
    return b"".join(b"\xba" + port.to_bytes(2, "little") + b"\xb0" + bytes([value]) + b"\xee"
                    for port, value in writes) + bytes.fromhex("f4 ebfd")


@pytest.fixture
def ends(capsys, tmp_path, kvm, monkeypatch):
    """(status, what is said, how often it was started) of a guest that writes to ports."""
    starts = []
    real = Machine.start
    monkeypatch.setattr(Machine, "start", lambda machine: (starts.append(machine), real(machine)))

    def run(*writes, options=()):
        guest = tmp_path / "guest"
        guest.write_bytes(real_mode(*writes))
        status, _, err = say(capsys, "run", guest, "--flat", "0x7c00", "--mem", "1M", "--serial", "null", *options)
        return status, err, len(starts)
    return run


def test_every_end_has_its_status(ends):
    assert ends(OFF) == (0, "", 1)
    assert ends(EXIT) == (7, "", 2)
    assert ends(PANIC, OFF) == (100, "splitvmm: the guest's kernel panicked\n", 3)
    assert ends(CRASH, OFF)[0] == 0


@pytest.mark.parametrize("options, starts, says", [
    (["--no-reboot"], 1, "(--no-reboot)"), (["--reboots", "0"], 1, "(--no-reboot)"),
    (["--reboots", "2"], 3, "3rd time; wanted at most 2 (--reboots)"), ([], LOOP + 1, "--reboots N allows more")])
def test_restarts_end(ends, options, starts, says):
    status, said, started = ends(RESET, options=options)
    assert (status, started) == (101, starts) and says in said and said.count("\n") == 1


def test_a_panic_is_no_restart(ends):
    """A kernel with panic=-1 would restart next; it is the panic that counts."""
    assert ends(PANIC, RESET)[::2] == (100, 1)


def test_a_guest_that_runs_for_a_while_restarts_as_it_likes():
    reboots = Reboots(None)
    for _ in range(50):
        assert not any(reboots.refused(QUICK_S / 2) for _ in range(LOOP))
        assert not reboots.refused(QUICK_S)
    assert [bool(reboots.refused(0)) for _ in range(LOOP + 1)] == [False] * LOOP + [True]


def test_a_number_counts_slow_restarts_too():
    reboots = Reboots(11)
    assert [bool(reboots.refused(1e6)) for _ in range(11)] == [False] * 11
    assert "12th time" in reboots.refused(1e6)


def test_mistakes(capsys):
    assert say(capsys, "run", "guest", "--reboots", "often")[::2] == (
        os.EX_USAGE, "splitvmm: --reboots 'often'; wanted a whole number from 0 to 4294967296\n")
    assert say(capsys, "run", "guest", "--reboots", "1", "--no-reboot")[0] == os.EX_USAGE
