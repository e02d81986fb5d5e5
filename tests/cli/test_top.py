"""`splitvmm top` beside VMs that run: in each mode, while one ends, and where it may not look."""

import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from rich.console import Console

from tests.cli import started
from tests.cli.started import SPLITVMM
from tests.cli.test_cli import say
from tests.top.running import BYTES, busy, counters, vms
from vmm.devmodel.layout import layout_block
from vmm.devmodel.virtqueue import Entry, UserCounters
from vmm.errors import UserError
from vmm.paths import BUILD, ROOT
from vmm.top import process, sample
from vmm.top.table import tables
from vmm.top.watch import Watch

TIMEOUT_S = 60
READS, SEEN = 500, 20       # at least; so many different ones
WIDE = ROOT / "build" / "wide"
NO_COUNTERS = {"active", "rings", "sequence", "last_reason", "reserved"}


def top(*arguments, **options):
    return subprocess.run([SPLITVMM, "top", "--interval", "0.05", *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT_S, **options)


def test_rates_and_counters_in_each_mode(image, mode):
    with busy(image, mode, "--rng", "offload=off", queues=2) as one:
        done = top(one.pid, "--json")
    assert done.returncode == 0 and not done.stderr and done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    vm, = told["vms"]
    assert set(vm) == {"pid", "executor", "vcpus", "devices"} and vm["pid"] == one.pid and told["interval_s"] >= 0.05
    disk, rng = vm["devices"]
    assert (disk["device"], disk["schema"], disk["version"], disk["offload"]) == ("disk0", "blk", 1, mode)
    assert (rng["device"], rng["offload"]) == ("rng0", "off")
    wanted = {field.name for field in layout_block(Entry).fields} | {
        f"user_{field.name}" for field in layout_block(UserCounters).fields if field.name not in NO_COUNTERS}
    for counted in (disk["total"], *disk["queues"]):
        of_a_queue = {"queue", "holder", "generation", "in_flight", "polling"}
        assert set(counted) - of_a_queue == wanted - NO_COUNTERS | {"rates"}
        assert set(counted["rates"]) == wanted - NO_COUNTERS - {"longest_ns"} | {"each_ns", "user_each_ns"}
    half, other = ("user_", "") if mode == "off" else ("", "user_")
    served, idle = disk["queues"]
    assert served[f"{half}bytes"] == BYTES * served[f"{half}handled"] > 0 and not idle["handled"]
    assert served["rates"][f"{half}handled"] > 0 and served["rates"][f"{half}each_ns"] > 0
    assert served["rates"][f"{other}handled"] == 0 and served["rates"][f"{other}each_ns"] is None
    assert (served["holder"], idle["holder"]) == ("user" if mode == "off" else "kernel", "user")
    assert served["in_flight"] is served["polling"] is None     # async=off
    vcpu, = vm["vcpus"]
    assert vcpu["exits"] > 0 and (vcpu["rates"]["exits"] > 0) == (mode == "off")
    assert (vcpu["rates"]["taken"] > 0) == (mode == "host")


def test_no_read_is_torn(image, mode):
    """What is counted with a request is of one moment, while the guest runs as fast as it can, on handlers that take
    their time between one counter and the next."""
    half, seen, reads = "user_" if mode == "off" else "", set(), 0
    assert (WIDE / "blk.bpf.o").exists(), f"{WIDE} is missing; wanted `make wide`"
    with busy(image, mode, env={**os.environ, "SPLITVMM_BUILD": str(WIDE)}) as one:
        vm, = vms(one.pid)
        while reads < READS or len(seen) < SEEN:
            counted = counters(vm)
            assert counted[f"{half}bytes"] == BYTES * counted[f"{half}handled"]
            seen.add(counted[f"{half}handled"])
            reads += 1


def test_requests_in_flight(bpf, ring, image):
    """A ring that is there and has nothing."""
    guest = started.start("run", BUILD / "echo.elf", "--mem", "32M", "--serial", "stdio",
                          "--disk", f"{image},offload=on", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    look = Watch(guest.pid)
    until(lambda: process.directories(guest.pid))
    vm, = look.look()["vms"]
    assert [(queue["in_flight"], queue["polling"]) for queue in vm["devices"][0]["queues"]] == [(0, False)]


def test_a_queue_that_is_polled(bpf, ring, image):
    """By a driver that is always busy, in ring 3, where its instructions are the CPU's."""
    guest = started.start("run", BUILD / "measure.elf", "--mem", "64M", "--serial", "null", "--cmdline",
                          "notify=event ring=3 batches=100000000", "--disk",
                          f"{image},offload=on,async=on,poll=on,idle_us=100000")
    look = Watch(guest.pid)
    until(lambda: process.directories(guest.pid))
    until(lambda: rate_of_looks(told := look.look()) and "on, polled" in printed(told))
    queue, = look.look()["vms"][0]["devices"][0]["queues"]
    assert 0 < queue["polled"] <= queue["handled"]


def rate_of_looks(told):
    """Requests that they found in a second."""
    return sum(queue["rates"]["polled"] for vm in told["vms"] for device in vm["devices"] for queue in device["queues"]
               if queue["rates"])


def printed(told):
    out = Console(file=io.StringIO(), width=140)
    out.print(tables(told))
    return out.file.getvalue()


def until(there):
    deadline = time.monotonic() + TIMEOUT_S
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_table(image, kvm):
    with busy(image, "host", queues=2) as one:
        done = top(one.pid, "--once", "--device", "disk0")
        again = top()               # all VMs; and no terminal
        missing = top(one.pid, "--device", "disk7")
    assert done.returncode == 0 and f"process {one.pid}, 1 vCPU, executor kvm; a second: " in done.stdout
    first, second = (line.split() for line in done.stdout.splitlines() if line.split()[1:2] == ["host"])
    assert first[:5] == ["disk0.0", "host", "kernel", "3", "kernel"] and second[:3] == ["disk0.1", "host", "user"]
    assert again.returncode == 0 and f"process {one.pid}," in again.stdout
    assert missing.returncode == os.EX_USAGE and "no VM has one of this name" in missing.stderr


def test_a_vm_that_ends(image, kvm):
    """Between two looks, while it is looked at, and before."""
    with busy(image, "host") as one:
        look = Watch(one.pid)
        assert [vm["pid"] for vm in look.look()["vms"]] == [one.pid] and not look.ended
        vm, = vms(one.pid)
        one.kill()
        one.wait()
    for gone in (lambda: sample.take(vm), lambda: vms(one.pid)):
        with pytest.raises(process.Gone):
            gone()
    assert look.look()["vms"] == [] and look.ended
    assert one.pid not in [vm["pid"] for vm in Watch().look()["vms"]]
    assert top(one.pid).stderr == (f"splitvmm: process {one.pid}: no VM of splitvmm; wanted the process of one, as "
                                   "`splitvmm top` lists them\n")


@pytest.mark.parametrize("arguments, says", [
    ([os.getpid()], "no VM of splitvmm"), (["me"], "PID 'me'; wanted a whole number"), ([0], "PID '0'; wanted"),
    (["--interval", "0"], "--interval '0'; wanted seconds, 0.01 to 3600"), (["--interval", "x"], "--interval 'x'"),
    (["--interval", "nan"], "--interval 'nan'")])
def test_mistakes(capsys, arguments, says):
    status, out, err = say(capsys, "top", *arguments)
    assert status == os.EX_USAGE and out == "" and says in err.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root, who alone may be somebody else")
def test_somebody_elses(image, kvm):
    """Named, it is said why; among all, it is not there."""
    with busy(image, "off") as one:
        with pytest.raises(UserError) as named:
            as_nobody(Watch(one.pid).look)
        among = as_nobody(Watch().look)
    assert str(named.value) == (f"process {one.pid}: not readable: Permission denied; wanted root, or a process of "
                                "one's own")
    assert one.pid not in [vm["pid"] for vm in among["vms"]]


def as_nobody(call):
    """What it returns, or raises of a user's, in a process of another user's."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setresuid(65534, 65534, 65534)
            try:
                found = call()
            except UserError as error:
                found = str(error)
            os.write(writer, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        found = json.load(said)
    os.waitpid(child, 0)
    if isinstance(found, str):
        raise UserError(found)
    return found


def test_memory_that_may_not_be_read_is_a_row(image, kvm, monkeypatch):
    def refused(*_):
        raise process.Unreadable("not permitted")
    with busy(image, "off") as one:
        monkeypatch.setattr(process.Places, "read", refused)
        assert {"pid": one.pid, "not_readable": "not permitted"} in (found := Watch().look())["vms"]
        assert f"process {one.pid}: not readable: not permitted" in [str(row) for row in tables(found).renderables]
        with pytest.raises(UserError, match=f"process {one.pid}: not readable: not permitted"):
            Watch(one.pid).look()


def test_the_terminal_is_as_it_was(image, kvm):
    """SIGINT while it is drawn; and the end of the VM that it was about."""
    with busy(image, "host") as one:
        for end in (lambda watching: watching.send_signal(signal.SIGINT), lambda _: one.kill()):
            ours, theirs = pty.openpty()
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
            settings, said = termios.tcgetattr(theirs), b""
            watching = started.start("top", one.pid, "--interval", "0.05", stdout=theirs, stderr=subprocess.PIPE,
                                     env={**os.environ, "TERM": "xterm"})
            while b"disk0.0" not in said:
                assert select.select([ours], [], [], TIMEOUT_S)[0], said
                said += os.read(ours, 4096)
            end(watching)
            settings_then = termios.tcgetattr(theirs)
            os.close(theirs)
            while True:
                try:
                    said += os.read(ours, 4096)
                except OSError:         # nobody has the other end any more
                    break
            assert watching.wait(TIMEOUT_S) == (0 if one.poll() is not None else 130)
            assert watching.stderr.read() == b"" and said.rstrip().endswith(b"\x1b[?1049l")     # back to its screen
            assert settings_then == settings
            os.close(ours)


def test_nobody_reads_it(image, kvm):
    with busy(image, "host") as one:
        command = f"set -o pipefail; {SPLITVMM} top {one.pid} --json --interval 0.05 | true"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.stderr == "" and done.returncode in (0, 128 + signal.SIGPIPE)
