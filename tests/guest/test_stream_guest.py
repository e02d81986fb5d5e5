"""A guest whose packets the host checks byte by byte, while their buffers are used again at once."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scale import scaled
from tools import streamguest

ROOT = Path(__file__).parent.parent.parent


def stream(modes, *options):
    done = subprocess.run([sys.executable, "-m", "tools.streamguest", modes, "--packets", str(scaled(4000)), *options],
                          cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    got = json.loads(done.stdout)
    assert got["status"] == 0 and got["came"] == scaled(4000), got
    return got


def test_by_interrupt(kvm, network, ring, mode):
    """A doorbell or an interrupt that is lost ends it, as there is no other."""
    totals = stream(mode)["totals"]
    assert totals["user_handled" if mode == "off" else "handled"] == scaled(4000)


def test_beside_a_disk(kvm, network, ring, mode):
    got = stream(mode, "--disk")
    assert " disk=0\n" not in got["said"]


@pytest.mark.parametrize("modes", ["on,off", "on,host", "on,host,off"])
@pytest.mark.parametrize("disk", [(), ("--disk",)])
def test_switched(kvm, bpf, network, ring, modes, disk):
    assert stream(modes, *disk)["switches"]


def frame(number, length, at=None):
    """What the guest would send."""
    table, at = streamguest._table(), number * 7 % 2048 if at is None else at
    return bytes(14) + struct.pack("<II", number, length) + table[at:at + length - 34]


@pytest.mark.parametrize("wrong, said", [
    (frame(5, 100)[:-1] + b"\xdd", "changed"), (frame(5, 100)[:-1], "changed"), (frame(5, 100, at=42), "changed"),
    (frame(4, 100), "twice"), (b"short", "22 at least")])
def test_what_it_finds(wrong, said):
    peer = object.__new__(streamguest.Peer)
    peer.came, peer._table = {4}, streamguest._table()
    assert peer._check(frame(5, 100)) == ""
    peer.came.discard(5)
    assert said in peer._check(wrong)
