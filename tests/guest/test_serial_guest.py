"""What guests send on the serial port, in every way that there is: nothing lost, doubled or out of order, however the
guest ends, and few of its bytes seen by Python."""

import fcntl
import os
import signal
import subprocess
import time

import pytest

from tests.guest.test_guests import SPLITVMM, TIMEOUT_S
from tests.scale import scaled
from vmm import Machine, MachineConfig
from vmm.devices.output import MOST
from vmm.kvm.vcpu import UnhandledExit
from vmm.kvm.vm import binding
from vmm.machine.config import ConsoleConfig, ExecutorConfig
from vmm.machine.stats import all_counters
from vmm.paths import BUILD

LETTERS = 23
RING = binding()[1].SERIAL_SENT
MORE = RING + RING // 4     # than it holds


def pattern(first: bytes, count: int) -> bytes:
    letters = bytes(first[0] + i for i in range(LETTERS))
    return (letters * (count // LETTERS + 1))[:count]


def machine(tmp_path, count, how, more="", **config):
    config.setdefault("serial", f"file={tmp_path / 'said'}")
    return Machine(MachineConfig(BUILD / "serial.elf", 32 << 20, cmdline=f"bytes={count} how={how} {more}", **config))


def said(tmp_path) -> bytes:
    return (tmp_path / "said").read_bytes()


@pytest.mark.parametrize("how, exits", [("plain", 1), ("polled", 2), ("string", 1), ("interrupt", 2)])
def test_all_of_it_arrives(tmp_path, kvm, how, exits):
    """`exits` a byte, at most, are answered in C; Python sees what there was no room for."""
    count = scaled(MORE)
    with machine(tmp_path, count, how) as made:
        assert made.run(TIMEOUT_S) == 0
        told = all_counters(made)
    assert said(tmp_path) == pattern(b"a", count)
    vcpu, = told["vcpus"]
    assert told["serial"]["sent"] == count and 0 < vcpu["serial"] <= exits * count + 10
    assert vcpu["exits"] < 10 + count // 1000


def test_with_offload(tmp_path, mode):
    """The exit path has its own way with writes."""
    with machine(tmp_path, 2000, "polled", consoles=[ConsoleConfig("null", offload=mode)]) as made:
        assert made.run(TIMEOUT_S) == 0
        exits = all_counters(made)["vcpus"][0]["exits"]
    assert said(tmp_path) == pattern(b"a", 2000) and exits < 20


@pytest.mark.parametrize("how", ["plain", "polled", "string", "interrupt"])
@pytest.mark.parametrize("executor", ["emulator", "auto"])
def test_other_executors(tmp_path, request, emulator, executor, how):
    if executor == "auto":
        request.getfixturevalue("kvm")
    with machine(tmp_path, 3000, how, executor=ExecutorConfig(executor)) as made:
        assert made.run(TIMEOUT_S) == 0
    assert said(tmp_path) == pattern(b"a", 3000)


def test_two_vcpus_at_once(tmp_path, kvm):
    """Each one's bytes are all there, in its order."""
    count = scaled(MORE // 2 + 1000)
    with machine(tmp_path, count, "both", cpus=2) as made:
        assert made.run(TIMEOUT_S) == 0
    found = said(tmp_path)
    assert bytes(c for c in found if c >= ord("a")) == pattern(b"a", count)
    assert bytes(c for c in found if c < ord("a")) == pattern(b"A", count)


@pytest.mark.parametrize("sent", [0, 200_000])
def test_all_registers_in_all_ways(tmp_path, kvm, sent):
    """By two vCPUs at once, with input as fast as it is taken until that ends; and then it works as ever."""
    done = subprocess.run([SPLITVMM, "run", BUILD / "serial.elf", "--mem", "32M", "--cpus", "2", "--serial", "stdio",
                           "--cmdline", f"bytes={scaled(2000)} how=chaos"], input=os.urandom(sent), capture_output=True,
                          timeout=TIMEOUT_S)
    assert done.returncode == 0 and done.stdout.endswith(b"\nserial: passed\n"), done.stderr[-2000:]


def test_a_guest_that_crashes(tmp_path, kvm):
    """What it said last is what one wants to see."""
    with machine(tmp_path, 500, "plain", "then=crash") as made, pytest.raises(UnhandledExit):
        made.run(TIMEOUT_S)
    assert said(tmp_path) == pattern(b"a", 500)


def test_without_an_exit_it_is_seen_soon(tmp_path, kvm):
    """A guest that says something and waits for ever: by time."""
    with machine(tmp_path, 500, "plain", "then=stay") as made:
        made.start()
        deadline = time.monotonic() + TIMEOUT_S
        while said(tmp_path) != pattern(b"a", 500):
            assert time.monotonic() < deadline, said(tmp_path)
            time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_is_ended(tmp_path, kvm, number):
    """In the middle of what its guest says: a part of it, from its beginning, with no hole."""
    path = tmp_path / "said"
    process = subprocess.Popen([SPLITVMM, "run", BUILD / "serial.elf", "--mem", "32M", "--serial", f"file={path}",
                                "--cmdline", f"bytes={1 << 30}"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + TIMEOUT_S
    while not (path.exists() and path.stat().st_size > 1000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT_S)
    found = path.read_bytes()
    assert len(found) > 1000 and found == pattern(b"a", len(found))


def test_pauses(tmp_path, kvm):
    """While it stands still all that was said comes out, and then no more."""
    count = scaled(MORE // 2)
    with machine(tmp_path, count, "plain") as made:
        made.start()
        for _ in range(5):
            with made.paused():
                made.serial.flush()
                found = said(tmp_path)
                assert len(found) == made.serial.sent and found == pattern(b"a", len(found))
            time.sleep(0.01)
        assert made.wait(TIMEOUT_S) == 0
    assert said(tmp_path) == pattern(b"a", count)


def test_a_reader_that_is_slow(tmp_path, kvm):
    """The guest waits for it, and nothing grows."""
    path = tmp_path / "said"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    count = MOST + 3 * RING
    with machine(tmp_path, count, "string") as made:
        made.start()
        before = -1
        while made.serial.sent != before or before < RING:      # full: the ring, the output, the pipe
            before = made.serial.sent
            time.sleep(0.5)
        assert before <= MOST + 2 * RING + 4096 and made.status is None
        os.set_blocking(reader, True)
        found = bytearray()
        while len(found) < count:
            found += os.read(reader, 1 << 16)
        assert made.wait(TIMEOUT_S) == 0
    os.close(reader)
    assert found == pattern(b"a", count)


def test_nowhere(tmp_path, kvm):
    """Nobody waits, and Python sees nothing of it."""
    with machine(tmp_path, MORE, "string", serial="null") as made:
        assert made.run(TIMEOUT_S) == 0
        told = all_counters(made)
    assert told["serial"] == {"sent": MORE, "calls": 0}
