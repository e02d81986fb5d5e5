"""Input for a guest's consoles from a pipe that is full before the guest starts."""

import fcntl
import os
import random
import signal
import subprocess

import pytest

from tests.guest.matrix import COMBINATIONS, words
from tests.guest.test_guests import SPLITVMM, TIMEOUT_S
from vmm.paths import BUILD

PAGE, PIPE_BYTES = 4096, 64 << 10       # what Linux buffers (pipe(7))


def typed(size: int) -> bytes:
    """So many bytes without a newline, then one."""
    return bytes(random.Random(7).choices([*range(10), *range(11, 256)], k=size)) + b"\n"


def run(guest: str, *options, data: bytes) -> bytes:
    done = subprocess.run([SPLITVMM, "run", BUILD / guest, "--mem", "32M", *options], input=data,
                          capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 3, done.stderr.decode()
    return done.stdout


def test_serial(kvm):
    """More than the pipe holds, which is a small one as the guest polls byte by byte."""
    data = typed(2 * PAGE)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    with subprocess.Popen([SPLITVMM, "run", BUILD / "echo.elf", "--mem", "2M", "--serial", "stdio"], stdin=reader,
                          stdout=subprocess.PIPE) as child:
        os.close(reader)
        with open(writer, "wb") as file:
            file.write(data)
        said, _ = child.communicate(timeout=TIMEOUT_S)
    assert (child.returncode, said) == (3, data)


@COMBINATIONS
def test_console(mode, ring, transport, packed, event):
    """More than the pipe, the one behind it, and the guest's buffers hold."""
    data = typed(4 * PIPE_BYTES)
    console = f"stdio,offload={mode},transport={transport},packed={'on' if packed else 'off'}"
    assert run("typed.elf", "--serial", "null", "--console", console, "--cmdline", words(transport, packed, event),
               data=data) == data


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no-newline", "newline"])
def test_console_output_of_a_guest_that_waits(mode, ring, end):
    """A guest whose input ends without a newline waits on; the first part is there all the same."""
    with subprocess.Popen([SPLITVMM, "run", BUILD / "typed.elf", "--mem", "32M", "--serial", "null", "--console",
                           f"stdio,offload={mode}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdin.write(b"x" * 5000 + end)
        child.stdin.close()
        assert child.stdout.read(5000) == b"x" * 5000
        if not end:
            child.terminate()
        assert child.wait(TIMEOUT_S) == (3 if end else 128 + signal.SIGTERM)
