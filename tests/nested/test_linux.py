"""A distribution's kernel, unmodified, on devices of ours."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tools.nested.files import DISK

SPLITVMM = Path(sys.executable).parent / "splitvmm"
ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 580
ALL = "on,off,host"     # offload modes that are gone round while the guest works


def guest(linux, *options, kernel="vmlinux", initrd="guest.img", status=0):
    """Run a guest; what is known of it afterwards."""
    done = subprocess.run([sys.executable, "-m", "tools.linuxguest", "--kernel", linux / kernel, "--initrd",
                           linux / initrd, "--timeout", str(TIMEOUT_S - 30), *map(str, options)],
                          cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    got = json.loads(done.stdout)
    assert got["status"] == status and got["jobs"][-1] == f"done {status}", got["said"]
    return got


@pytest.fixture
def disk(tmp_path):
    """A file system of our own; it is clean when the guest has ended."""
    path = tmp_path / "disk.img"
    subprocess.run(["cp", "--sparse=always", DISK, path], check=True)
    yield path
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    checked = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True, env=environment)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("transport, cpus, packed", [("mmio", 1, False), ("pci", 1, True), ("mmio", 2, True),
                                                     ("pci", 2, False)],
                         ids=["mmio-1-split", "pci-1-packed", "mmio-2-packed", "pci-2-split"])
def test_work(linux, network, disk, transport, cpus, packed):
    """Files unpacked and checked on the split disk, 100 MB each way over the split card, lines over the
    console, entropy, while offload goes round; then the file system is clean."""
    got = guest(linux, "--job", "check,console", "--disk", disk, "--net", "--transport", transport, "--cpus", cpus,
                "--modes", ALL, *(["--packed"] if packed else []))
    said = got["jobs"]
    assert f"cpus {cpus}" in said[0] and said[1] == "files 150"
    assert said[3] == f"received {100 << 20} {got['sent']}" and got["came"] == got["sent"]
    assert said[5] == "rng virtio_rng.0 2560" and got["heard"] == [f"back: line {i}" for i in range(20)]
    assert got["switches"] >= 10 and got["totals"]["rng0"]["handled"] + got["totals"]["rng0"]["user_handled"]
    for name in ("disk0", "net0"):
        assert got["totals"][name]["handled"] > 100 and got["totals"][name]["user_handled"] > 0


@pytest.mark.parametrize("transport, mode, cpus", [("mmio", "off", 1), ("pci", "on", 2)])
def test_one_mode(linux, network, disk, transport, mode, cpus):
    """Without a change of hands, and with the kernel as it is packed."""
    got = guest(linux, "--job", "check", "--disk", disk, "--net", "--transport", transport, "--modes", mode,
                "--bytes", 1 << 20, "--cpus", cpus, kernel="vmlinuz")
    assert got["came"] == got["sent"]
    handled = got["totals"]["net0"]["handled"]
    assert handled > 20 if mode == "on" else handled == 0


def test_eight_cpus_and_memory_above_the_hole(linux):
    """In `off` mode guest memory is taken as it is touched.  The job that the guest does not know is its
    exit status."""
    got = guest(linux, "--cpus", 8, "--memory", 3328, "--job", "no_such_job", kernel="vmlinuz", status=1)
    assert "cpus 8" in got["jobs"][0]


@pytest.mark.parametrize("append, chip", [("", "IO-APIC"), ("noapic", "XT-PIC")])
def test_without_acpi(linux, tmp_path, append, chip):
    """By the MP table, or the 8259s alone: timer, serial port and disk are heard, and every CPU is found."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 20))
    got = guest(linux, "--job", "none,interrupts", "--disk", image, "--transport", "pci", "--modes", "on", "--cpus", 2,
                "--append", f"acpi=off end=reboot {append}")
    assert "cpus 2" in got["jobs"][0] and got["jobs"][1] == "devices 1" and got["rebooted"]
    assert re.search(rf"^interrupts +4: [1-9].* {chip} .*ttyS0$", got["jobs"][2]), got["jobs"]
    assert got["totals"]["disk0"]["handled"] + got["totals"]["disk0"]["user_handled"]


def test_fio_and_iperf(linux, network, tmp_path):
    """Random and sequential mixes, deep queues, flushes: all that was written is verified.  Streams and
    datagrams each way."""
    image, initrd = tmp_path / "disk", tmp_path / "initrd"
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    initrd.write_bytes((linux / "guest.img").read_bytes() + (linux / "guest-tools.img").read_bytes())
    jobs = {"fio": ["--rw=randrw --bs=4k --size=4M --iodepth=32 --ioengine=libaio --direct=1",
                    "--rw=write --bs=64k --size=16M --iodepth=8 --ioengine=libaio --direct=1",
                    "--rw=randwrite --bsrange=512-32k --bs_unaligned=0 --size=2M --fsync=8"],
            "iperf": ["-t 1", "-t 1 -R", "-t 1 -u -b 20M", "-t 1 -R -u -b 20M -l 64"]}
    append = " ".join(f"{name}={text.replace(' ', '+')}" for name, each in jobs.items() for text in each)
    got = guest(linux, "--job", "fio,iperf", "--disk", image, "--net", "--memory", 512, "--modes", ALL,
                "--transport", "mmio", "--cpus", 2, "--packed", "--asynchronous", "on", "--append", append,
                initrd=initrd)
    said = [line.split()[0] for line in got["jobs"]]
    assert said == ["up", "fio", "fio", "fio", *["iperf"] * 4, "done"] and got["switches"] >= 3
    assert all("receiver" in line for line in got["jobs"] if line.startswith("iperf"))


@pytest.mark.parametrize("append, option, status, says", [
    ("job=panic", "--stats", 100, "the guest's kernel panicked"),
    ("job=none end=reboot", "--no-reboot", 101, "--no-reboot")])
def test_panic_and_restart_are_no_success(linux, append, option, status, says):
    """Linux finds pvpanic by ACPI; with panic=-1 it would restart next."""
    done = subprocess.run([SPLITVMM, "run", "--kernel", linux / "vmlinux", "--initrd", linux / "guest.img", option,
                           "--append", f"console=ttyS0 loglevel=7 panic=-1 {append}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == status and says in done.stderr, done.stdout + done.stderr
    assert "OS now controls [PCIeCapability]" in done.stdout and "emulates ring 0" not in done.stderr


@pytest.fixture
def terminal(linux):
    """splitvmm on a terminal of its own: what it says, and a way to type."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([SPLITVMM, "run", "--kernel", linux / "vmlinux", "--initrd", linux / "guest.img",
                                "--append", "console=ttyS0 quiet panic=-1 job=login"], stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True)
    said = bytearray()

    def expect(pattern):
        deadline = time.monotonic() + TIMEOUT_S
        while not re.search(pattern, said):
            assert process.poll() is None and time.monotonic() < deadline, said.decode(errors="replace")
            if select.select([master], [], [], 1)[0]:
                said.extend(os.read(master, 4096))
        said.clear()
    yield expect, lambda keys: os.write(master, keys), process
    process.kill()
    process.wait()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_login_reboot_and_escape(terminal):
    """The serial port as a terminal: log in, work, reboot, and end it from outside."""
    expect, type_, process = terminal
    expect(b"login: ")
    type_(b"root\n")
    expect(b"# ")
    type_(b"echo $((6 * 7))x\n")
    expect(b"42x")
    type_(b"reboot -f\n")
    expect(b"login: ")
    type_(b"\x01\x01")      # one for the guest
    type_(b"\x01x")
    assert process.wait(60) == 0

