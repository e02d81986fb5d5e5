"""QEMU as a third opinion: in step with ours but for what is known, and a fault of ours is found by it."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

from tests.scale import scaled
from vmm.cli.main import main
from vmm.cli.verify import _against
from vmm.devices.blk import BlkDevice
from vmm.devices.net import NetDevice
from vmm.devices.rng import RngDevice
from vmm.errors import UserError
from vmm.kvm.interrupts import MessageLine
from vmm.paths import ROOT
from vmm.verify.campaign import Campaign, Result
from vmm.verify.lockstep import Lockstep
from vmm.verify.qemu import process
from vmm.verify.qemu.against import COMPARED
from vmm.verify.qemu.known import FIRST, KNOWN, known
from vmm.verify.qemu.qtest import QemuGone, Qtest
from vmm.verify.report import table
from vmm.verify.steps import load
from vmm.verify.strategies import ours
from vmm.virtqueue.split_ring import SplitRing

SEQUENCES = sorted((Path(__file__).parent / "qemu").glob("*.sequence.json"))
NAMES = [path.name.removesuffix(".sequence.json") for path in SEQUENCES]
SETTINGS = [{"transport": transport, "rings": rings} for transport in ("mmio", "pci") for rings in ("split", "packed")]


@pytest.fixture
def qemu():
    if not shutil.which(process.PROGRAM):
        pytest.skip(f"no {process.PROGRAM} on this machine")
    if (found := process.version()) != process.TRIED:
        pytest.skip(f"QEMU {found}: differences are known from {process.TRIED}")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(setting.values()))
@pytest.mark.parametrize("name", COMPARED)
def test_qemu_agrees(qemu, name, setting):
    result = Campaign(ours()[name](), name, ["off", "qemu"], setting).run(6, None, scaled(400))
    assert not result.difference, result.difference
    assert result.handled["qemu"] > result.steps / 8 and len(result.kinds) > 8


@pytest.mark.parametrize("path", SEQUENCES, ids=NAMES)
def test_a_known_difference(qemu, path):
    sequence = load(path)
    with Lockstep(ours()[sequence.device](), sequence.executors, sequence.setting) as lockstep:
        for each in sequence.steps:
            assert not lockstep.do(each)
        assert any(path.name.startswith(name) for name in lockstep.declined()["qemu"])


def test_each_known_difference_is_shown():
    """But one that takes a table of chance."""
    assert {each.name for each in KNOWN} - {"gigabytes"} <= set(NAMES)


def test_the_page_has_them_all():
    page = (ROOT / "docs" / "verify.md").read_text()
    for each in KNOWN:
        assert f"| `{each.name}` | {each.section} | {each.right} | {each.what} |" in page


def test_each_is_told_once_with_the_most_frequent_first():
    met = {"table-behind-buffers": 2, "length-of-failed": 19}
    result = Result(steps=1, sequences=1, handled={"qemu": 3}, declined={"qemu": met})
    told = table("blk", 1, ours()["blk"](), [({}, result)])
    assert re.findall(r"      (\S+), (\d+) times", told) == [("length-of-failed", "19"), ("table-behind-buffers", "2")]


def test_what_is_known_is_narrow():
    assert known(qemu="virtio-blk missing headers").name == "table-behind-buffers"
    assert not known("a reason", "virtio-blk missing headers") and not known("a reason") and not known()
    assert not known(difference=("interrupt of line 0", "raised", "none")) and FIRST in KNOWN
    assert not known(difference=("memory, status of slot 1 (IN)", "00", "01"))


def spoilt(method):
    def serve(self, *given):
        status, written, moved = method(self, *given)
        return 1 - status, written, moved
    return serve


def short(method):
    def serve(self, head, slots, written, touched=False):
        return method(self, head, slots, written - 1)
    return serve


FAULTS = {
    "another status": (BlkDevice, "_do", spoilt, "memory, status of slot"),
    "another length": (SplitRing, "push", short, "used length"),
    "no interrupt": (SplitRing, "wants_interrupt", lambda method: lambda self, used: False, "interrupt of line 0"),
    "no space at the end": (BlkDevice, "_transfer", lambda method: lambda self, call, sector, *rest: method(
        self, call, sector + 1, *rest), "sector|data|guest-physical"),
    "one request and no more": (RngDevice, "serve", lambda method: lambda self, queue: (0, 0),
                                "queue 0, used|Guest says"),
    "no packet": (NetDevice, "_wants", lambda method: lambda self, frame: False, "queue 0, used"),
    "a rule that is none": (SplitRing, "good_size", lambda method: staticmethod(lambda size, largest: size == 8),
                            "DEVICE_NEEDS_RESET"),
}


def test_a_message_that_is_missing_is_found(qemu, monkeypatch):
    monkeypatch.setattr("vmm.verify.campaign.SHRINK_S", 0.0)
    monkeypatch.setattr(MessageLine, "pulse", lambda line: None)
    setting = {"transport": "pci", "rings": "split"}
    result = Campaign(ours()["rng"](), "rng", ["off", "qemu"], setting).run(1, None, 400)
    assert "interrupt of line 0 is raised with qemu; wanted none" in str(result.difference)


@pytest.mark.parametrize("kind, name, fault, says", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_ours_is_found(qemu, monkeypatch, kind, name, fault, says):
    monkeypatch.setattr("vmm.verify.qemu.guest.WAIT_S", 0.2)
    monkeypatch.setattr("vmm.verify.in_flight_guest.InFlightGuest.patience_s", 0.2)
    monkeypatch.setattr("vmm.verify.campaign.SHRINK_S", 0.0)
    monkeypatch.setattr(kind, name, fault(getattr(kind, name)))
    device = {RngDevice: "rng", NetDevice: "net"}.get(kind, "blk")
    result = Campaign(ours()[device](), device, ["off", "qemu"], {"rings": "split"}).run(1, None, 2000)
    assert result.difference and re.search(says, result.difference.where), result.difference


# the protocol

@pytest.fixture
def peer():
    """peer(answers): a client, and what it sent, of a QEMU that gives these answers."""
    made = []

    def make(answers: bytes):
        client, server = socket.socketpair()
        server.sendall(answers)
        server.shutdown(socket.SHUT_WR)
        made.append(server)
        return Qtest(client)
    yield make
    for server in made:
        server.close()


def test_writes_go_with_the_next_read(peer):
    qtest = peer(b"OK\nIRQ raise 3\nIRQ lower 3\nOK 0x12\nOK 0x34\n")
    qtest.write(0x1000, 2, 0x12345)
    assert qtest.read((0x2000, 4), (0x3000, 1)) == [0x12, 0x34] and dict(qtest.raised) == {3: 1}
    qtest.close()


@pytest.mark.parametrize("answers, says", [(b"", "answers nothing"), (b"FAIL Unknown command\n", "answers FAIL")])
def test_an_answer_that_is_none(peer, answers, says):
    with pytest.raises(QemuGone, match=says):
        peer(answers).read((0, 4))


# the command

def test_the_command(qemu, capsys):
    assert main(["verify", "rng", "--against", "qemu", "--steps", "800", "--seed", "6"]) == 0
    said = capsys.readouterr().out
    assert said.count("no difference") == 2 and "qemu used" in said and "not compared: used length" in said


@pytest.mark.parametrize("words, says", [
    (["rng", "--against", "other"], "--against"),
    (["rng", "--against", "qemu"], "qemu-system-x86_64: not found; wanted QEMU 7.2")])
def test_mistakes(monkeypatch, capsys, words, says):
    monkeypatch.setattr("shutil.which", lambda name: None)
    try:
        assert main(["verify", *words]) == os.EX_USAGE
    except SystemExit as ended:     # of the parser
        assert ended.code == os.EX_USAGE
    assert says in capsys.readouterr().err


def test_a_device_that_qemu_has_not():
    with pytest.raises(UserError, match="adder --against qemu: not compared with it; wanted one of blk, net"):
        _against("qemu", "adder")


def test_none_is_left_of_a_checker_that_is_killed(qemu):
    """It has no time to end it."""
    program = """
import os, signal
from vmm.verify.lockstep import Lockstep
from vmm.verify.strategies import ours
with Lockstep(ours()["rng"](), ["qemu"], {}) as lockstep:
    print(lockstep.guests[1].machine.qemu._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for _ in range(500):
        if not Path(f"/proc/{int(done.stdout)}").exists():
            return
        sleep(0.01)
    pytest.fail(f"QEMU, process {done.stdout}")


def test_none_is_left_of_one_that_does_not_begin(qemu, monkeypatch):
    started, start = [], process.subprocess.Popen

    def popen(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    def gone(qtest, device):
        raise QemuGone("QEMU: timed out")
    monkeypatch.setattr(process.subprocess, "Popen", popen)
    monkeypatch.setattr(Qtest, "intercept", gone)
    with pytest.raises(QemuGone, match="timed out"), \
            Lockstep(ours()["rng"](), ["qemu"], {"transport": "mmio", "rings": "split"}):
        pass
    statuses = [each.poll() for each in started]
    for each in started:
        each.kill()
        each.wait()
    assert statuses and None not in statuses
