"""Signals end `splitvmm run` in order at whatever moment, and the terminal is as it was."""

import fcntl
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli import started
from tests.scale import scaled
from vmm.paths import BUILD, ROOT

ROUNDS = scaled(5)      # with each signal
TIMEOUT_S = 60
PATH = f"{os.environ['PATH']}:/usr/sbin"


def held(process: subprocess.Popen) -> set[str]:
    """BPF programs and links that the process has now: "prog 7" (proc_pid_fdinfo(5))."""
    found = set()
    for path in Path(f"/proc/{process.pid}/fdinfo").glob("*"):
        with suppress(OSError):
            found |= {f"{kind} {n}"
                      for kind, n in re.findall(r"^(prog|link)_id:\s*(\d+)$", path.read_text(), re.MULTILINE)}
    return found


def gone(programs: set[str]) -> bool:
    """Whether none of them is left; the kernel frees in its own time."""
    if not shutil.which("bpftool", path=PATH):
        return True
    deadline = time.monotonic() + TIMEOUT_S
    while programs and time.monotonic() < deadline:
        programs = {each for each in programs if not subprocess.run(
            ["bpftool", each.split()[0], "show", "id", each.split()[1]], capture_output=True,
            env={**os.environ, "PATH": PATH}).returncode}
    return not programs


def start(*arguments, **options) -> subprocess.Popen:
    return started.start("run", *arguments, stderr=subprocess.PIPE, start_new_session=True, **options)


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while text not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_up(process: subprocess.Popen) -> None:
    """Until it is ours what a signal does, and no longer Python's: SIGTERM is caught (proc_pid_status(5))."""
    caught, deadline = 0, time.monotonic() + TIMEOUT_S
    while not caught >> signal.SIGTERM - 1 & 1:
        assert time.monotonic() < deadline
        caught = int(re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1], 16)


def test_signals_at_any_moment(tmp_path, mode):
    """One, or several one after the other: a status that says so, and nothing is left behind."""
    chance, programs = random.Random(mode), set()
    image = tmp_path / "disk"
    for number in (signal.SIGINT, signal.SIGTERM) * ROUNDS:
        image.write_bytes(bytes(16 << 20))
        ours, theirs = pty.openpty()
        settings = termios.tcgetattr(theirs)
        process = start(BUILD / "log.elf", "--mem", "32M", "--serial", "stdio", "--cmdline", "sectors=32768",
                        "--disk", f"{image},offload={mode},queues=2", stdin=theirs, stdout=subprocess.DEVNULL)
        wait_until_up(process)
        time.sleep(chance.uniform(0, 0.9))
        programs |= held(process)
        sent = [number, *(chance.choice((signal.SIGINT, signal.SIGTERM)) for _ in range(chance.choice((0, 0, 1, 3))))]
        for each in sent:
            process.send_signal(each)
            time.sleep(chance.uniform(0, 0.06))
        said = process.communicate(timeout=TIMEOUT_S)[1].decode()
        assert process.returncode - 128 in sent, said       # of several, the kernel says which is first
        assert "Traceback" not in said and termios.tcgetattr(theirs) == settings
        os.close(ours)
        os.close(theirs)
    assert gone(programs) and (mode != "on" or programs)


def waiting(fd: int) -> int:
    """Bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), "little")


def test_output_that_nobody_reads(kvm, tmp_path):
    """A guest that waits for a reader can be ended."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    flood = tmp_path / "flood"
    flood.write_bytes(bytes.fromhex("baf803" "b041" "ee" "ebfd"))      # mov $0x3f8, %dx; mov $'A', %al; out; jmp
    process = start(flood, "--flat", "0x7c00", "--mem", "1M", stdout=writer)
    os.close(writer)
    deadline, before = time.monotonic() + TIMEOUT_S, 0
    while before == 0 or before != waiting(reader):     # full: a write that does not fit whole waits (pipe(7))
        assert time.monotonic() < deadline
        before = waiting(reader)
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=TIMEOUT_S)[1].decode()
    os.close(reader)
    assert process.returncode == 143 and "were not taken" in said and "Traceback" not in said


@pytest.fixture
def listener(tmp_path, kvm):
    """Boots a guest that listens to its power button; the process, and what the guest says."""
    def boot(cmdline=""):
        serial = tmp_path / "serial"
        process = start(BUILD / "button.elf", "--mem", "32M", "--serial", f"file={serial}", "--cmdline", cmdline)
        wait_for(serial, "listening\n")
        return process, serial
    return boot


def test_sigterm_is_the_power_button(listener):
    process, serial = listener()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=TIMEOUT_S)[1].decode()
    assert process.returncode == 0 and serial.read_text() == "listening\npressed\n" and "power button" in said


@pytest.mark.parametrize("second, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (None, 143)])
def test_a_guest_that_ignores_it(listener, second, status):
    """Another signal ends it, or some seconds do; timeout(1)'s second SIGTERM at once is none."""
    process, serial = listener("ignore=1")
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
    wait_for(serial, "pressed\n")
    if second:
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(second)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == status and serial.read_text() == "listening\npressed\n"


def test_what_is_ignored_stays_so(kvm, tmp_path):
    """nohup(1) and jobs in the background of a script ignore SIGINT: so does the guest."""
    serial = tmp_path / "serial"
    process = start(BUILD / "button.elf", "--mem", "32M", "--serial", f"file={serial}", "--cmdline", "ignore=1",
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for(serial, "listening\n")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGHUP


def test_demo(kvm, tmp_path):
    """Its folder and its guests go with it."""
    chance = random.Random(5)
    for number in (signal.SIGINT, signal.SIGTERM)[:scaled(2)]:
        process = subprocess.Popen([sys.executable, "-m", "tools.demo"], cwd=ROOT, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, "TMPDIR": str(tmp_path)})
        first = process.stdout.readline().decode()
        time.sleep(chance.uniform(0, 3))
        process.send_signal(number)
        time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = first + process.communicate(timeout=TIMEOUT_S)[0].decode()
        assert process.returncode == 128 + number and "Traceback" not in said and "race" not in said, said
    assert not list(tmp_path.iterdir())
    assert not [line for line in _command_lines() if str(tmp_path).encode() in line]


def _command_lines():
    """Of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):     # it has ended
            yield path.read_bytes()
