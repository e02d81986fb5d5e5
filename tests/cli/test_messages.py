"""How much is said on standard error, by -v, -q and --log-level on either side of a command's name."""

import logging
import os

import pytest

from tests.cli.test_cli import say
from vmm.cli import messages
from vmm.cli.main import make_parser
from vmm.kvm.addresses import FIRST_PIN, VIRTIO_MMIO
from vmm.machine.machine import Machine
from vmm.paths import BUILD

GUEST = (BUILD / "real_mode.bin", "--flat", "0x7c00", "--mem", "1M", "--serial", "null")


@pytest.mark.parametrize("line, level", [
    ("run g", "warning"), ("-v run g", "info"), ("run g -v", "info"), ("-v run -v g", "debug"), ("run -vvv g", "debug"),
    ("-q run g", "error"), ("run g --quiet", "error"), ("run --log-level debug g", "debug"),
    ("-q --log-level info run g", "info"), ("--log-level debug run g --log-level error -vv", "error"),
    ("doctor -v", "info"), ("-vv bench exits", "debug"), ("compile a:b -q", "error"), ("completion bash -v", "info")])
def test_levels(line, level):
    options, unknown = make_parser().parse_known_args(line.split())
    assert messages.level(options) == level and not unknown


@pytest.mark.parametrize("line, says", [
    ("-q run g -v", "--quiet and --verbose given"), ("run g --log-level loud", "invalid choice: 'loud'"),
    ("--log-level", "--log-level: expected one argument")])
def test_mistakes(capsys, line, says):
    status, _, err = say(capsys, *line.split())
    assert status == os.EX_USAGE and says in err


@pytest.fixture
def talkative(monkeypatch):
    """A machine that says something at each level as it starts."""
    start = Machine.start

    def say_and_start(machine):
        for level in messages.LEVELS:
            getattr(logging.getLogger("splitvmm.trace"), level)("at level %s", level)
        start(machine)
    monkeypatch.setattr(Machine, "start", say_and_start)


@pytest.mark.parametrize("options, count", [(["-q"], 1), ([], 2), (["-v"], 3), (["-vv"], 4)])
def test_what_is_said(kvm, capsys, talkative, options, count):
    """By loggers below ours; nothing stays behind that would say it twice the next time."""
    for _ in range(2):
        status, _, err = say(capsys, "run", *GUEST, *options)
        assert status == 7
        assert [line for line in err.splitlines() if "at level" in line] == \
            [f"splitvmm: at level {level}" for level in messages.LEVELS[-count:]]
    assert not logging.getLogger("splitvmm").handlers


def test_a_machine_and_its_end_are_told(kvm, capsys, image):
    arguments = ("run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1", "--serial", "null", "--disk",
                 f"{image},offload=off")
    told = ["splitvmm: machine: 64 MiB of memory, 1 vCPU, 1 device",
            f"splitvmm: disk0: registers at {VIRTIO_MMIO:#x}, interrupt {FIRST_PIN}, offload off",
            "splitvmm: the guest ended with status 0"]
    assert say(capsys, *arguments, "-v")[2].splitlines() == told
    detailed = say(capsys, *arguments, "-vv")[2].splitlines()
    assert detailed[:2] + detailed[-1:] == told and "splitvmm: disk0: the driver resets it" in detailed
    assert any("disk0: the driver is ready, features 0x1" in line for line in detailed)


def test_quiet(kvm, capsys, image):
    """Without the note of what auto took; errors are said."""
    arguments = ("run", BUILD / "check.elf", "--mem", "64M", "--cmdline", "rounds=1", "--serial", "null", "--disk",
                 image)
    assert "splitvmm: disk0: offload " in say(capsys, *arguments)[2]
    assert say(capsys, *arguments, "-q")[::2] == (0, "")
    assert say(capsys, "-q", "run", "/none", "--serial", "null")[2].startswith("splitvmm: /none: ")
