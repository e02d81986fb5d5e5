"""A signal at any moment: nothing of what was begun goes on, or lies about."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.scale import scaled
from vmm.paths import ROOT

HANG_S = 60
DEVICE = """
import pathlib, subprocess, time
from vmm import RegisterDevice
from vmm.devmodel.schema import *

class Odd(Device, id=0, version=1):
    \"\"\"None.\"\"\"
    bell = reg(0, u32, "rings")

class OddDevice(RegisterDevice):
    schema = Odd
    def attach(self, place):
        super().attach(place)
        self.child = subprocess.Popen(["sleep", "1000.25"])
        pathlib.Path("there").touch()
        time.sleep(@attach@)
    def close(self):
        self.child.kill()
        self.child.wait()
        @close@
"""


def start(*words, cwd) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "vmm", *map(str, words)], cwd=cwd, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT),
                                                                    "TMPDIR": str(cwd)})


def running(folder) -> list[str]:
    """Command lines that have to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line or os.readlink(path / "cwd").startswith(str(folder)):
                found.append(line)
    return found


@pytest.fixture
def adder(clang, tmp_path):
    return shutil.copytree(ROOT / "examples" / "adder", tmp_path / "adder",
                           ignore=shutil.ignore_patterns("build", "__pycache__"))


@pytest.mark.parametrize("command", ["build", "test"])
def test_what_was_begun_ends(adder, command):
    chance = random.Random(7)
    for number in (signal.SIGTERM, signal.SIGINT)[:scaled(2)] * scaled(4 if command == "build" else 2):
        shutil.rmtree(adder / "build", ignore_errors=True)
        process = start(command, "adder.py", cwd=adder)
        while not (adder / "build").exists():       # before that it is Python that starts
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.4 if command == "build" else 4))
        process.send_signal(number)
        process.communicate(timeout=HANG_S)
        assert process.returncode in (0, 128 + number, -number)     # the last where all is done, and Python ends
        assert not running(adder)
        left = [path.name for path in (adder / "build").glob("*") if ".new" in path.name or ".tmp" in path.name]
        assert not left and not list(adder.glob("cc*"))
    assert start("build", "adder.py", cwd=adder).wait(HANG_S) == 0


@pytest.mark.parametrize("attach, close, status", [(2, "pass", 130), (0, "1 / 0", 130)])
def test_devices_are_closed(kvm, tmp_path, attach, close, status):
    """Also when the signal comes while the machine is made; and what closing raises is told, and changes no status."""
    (tmp_path / "odd.py").write_text(DEVICE.replace("@attach@", str(attach)).replace("@close@", close))
    guest = tmp_path / "guest.bin"
    guest.write_bytes(bytes.fromhex("ebfe"))        # jmp $
    process = start("run", "--device", "odd.py,offload=off", guest, "--flat", "0x7c00", "--mem", "1M", cwd=tmp_path)
    while not (tmp_path / "there").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=HANG_S)
    assert process.returncode == status and not running(tmp_path), error
    assert ("ZeroDivisionError" in error) == (close != "pass") and "Traceback" not in error
