"""VMs that share a host: the rows are as documented, and nothing that was started outlives the benchmark."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests import waiting
from tests.bench.made import row, write
from tests.bench.pages import parse, words
from tests.bench.test_bench import KEYS
from vmm.bench import hostile, measure, tables, tail
from vmm.bench.compare import compare
from vmm.bench.host import DOORBELLS, FOREIGN, READ, START
from vmm.bench.hostile import ATTACKS, NOBODY, ONE_CPU, OWN_CPUS, Beside
from vmm.bench.neighbours import IDLE_BYTES, Neighbours
from vmm.bench.rows import EXIT_CASES
from vmm.bench.saved import read
from vmm.cli import main as cli
from vmm.errors import UserError
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.paths import BUILD
from vmm.top import listing, process

wait_for = partial(waiting.wait_for, timeout_s=60)
SPLITVMM = Path(sys.executable).parent / "splitvmm"
FLOOD_S = 0.3
AFFINITY = os.sched_getaffinity(0)


def host_row(op="handled", vms=1, ns=2000.0, **changes):
    return row("on", ns, **{"bench": "host", "op": op, "pattern": None, "bytes": 4, "vms": vms, **changes})


def test_rows(tmp_path, kvm, bpf, capsys):
    path, page = tmp_path / "rows.json", tmp_path / "page.html"
    assert cli.main(["bench", "host", "--quick", "--repeat", "1", "--json", str(path), "--html", str(page)]) == 0
    found = read(path).rows
    assert all(set(KEYS) <= set(one) and one["ns_each"] == [one["ns_per_request"]] for one in found)
    idle, beside = ([one for one in found if ("beside" in one) == hostile_one] for hostile_one in (False, True))
    assert {(one["op"], one["vms"]) for one in idle} == {
        *((op, vms) for op in (*DOORBELLS, READ, FOREIGN, START) for vms in (1, 2)), (FOREIGN, 0)}
    assert [Beside(one["beside"], one["placed"]) for one in beside] == hostile.besides()
    for one in idle:
        handled, declined = ((one["op"] == op) * one["requests"] for op in ("handled", "declined"))
        if one["op"] != READ:
            assert (one["handled"], one["declined"], one["exits_to_user"]) == (handled, declined, declined)
        if one["op"] == START:
            assert 1 << 20 < one["own_bytes"] < 1 << 27 and 0 < one["kernel_bytes"] < IDLE_BYTES == one["bytes"]
    reads = [one for one in found if one["op"] == READ]
    assert all(0 < one["p50_ns"] <= one["p99_ns"] <= one["p999_ns"] and one["waited_ns"] >= 0 for one in reads)
    out = capsys.readouterr().out
    assert "doorbell handled" in out and "kernel's MiB" in out and "chains" in out
    assert "start of the last VM" in " ".join(words(parse(page)).split())


def bench(*arguments):
    return subprocess.Popen([SPLITVMM, "bench", "host", "--repeat", "1", *arguments], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def children(pid):
    """Processes that it has started (proc_pid_stat(5): state and parent)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_idle_vms_end_with_the_benchmark(kvm, bpf, how):
    started = bench("--vms", "5")
    try:
        wait_for(lambda: len(children(started.pid)) == 4)
        vms = children(started.pid)
        started.send_signal(how)
        assert started.wait(60) == (-how if how == signal.SIGKILL else 128 + how)
        wait_for(lambda: not any(Path(f"/proc/{pid}/mem").exists() for pid in vms))
    finally:
        started.kill()
        started.wait()


ATTACKING = """
import sys, time
from pathlib import Path
from vmm.bench import hostile
with hostile._attack(sys.argv[1], Path(sys.argv[2])) as guest:
    print(guest.process.pid, flush=True)
    time.sleep(600)
"""


def test_a_hostile_vm_ends_with_the_benchmark(kvm, bpf, image):
    with subprocess.Popen([sys.executable, "-c", ATTACKING, "chains", str(image)], stdout=subprocess.PIPE) as started:
        vm = int(started.stdout.readline())
        assert Path(f"/proc/{vm}").exists()
        started.kill()
    wait_for(lambda: not Path(f"/proc/{vm}").exists())


def counters(pid):
    """Of the one queue of a VM's disk, beside which it has nothing."""
    disk = listing.listed(pid, process.directories(pid)[0]).devices[0]
    return disk.shadow.counters(disk.shadow.read(process.copies_of(pid, disk.state, disk.shadow.size)), 1)


@pytest.mark.parametrize("who", ATTACKS)
def test_what_hostile_guests_do(kvm, bpf, image, who):
    with hostile._attack(who, image) as guest:
        before = counters(guest.process.pid)
        time.sleep(FLOOD_S)
        after = counters(guest.process.pid)
    doorbells, handled = (after[name] - before[name] for name in ("doorbells", "handled"))
    assert doorbells > 10
    if who == "declines":
        assert sum(after["declined"]) - sum(before["declined"]) >= doorbells - 1 and not handled
    else:
        assert handled > (64 * doorbells if who == "chains" else 0)


def test_a_hostile_guest_that_ends_is_told(kvm, bpf, image, monkeypatch):
    def end(guest):
        guest.process.kill()
        guest.process.wait()
    monkeypatch.setattr(hostile.Guest, "wait_first", end)
    with pytest.raises(UserError, match=r"the hostile guest \(chains\) ended with status -9; wanted it to go on"):
        hostile.read_beside(Beside("chains"), image, True)
    assert os.sched_getaffinity(0) == AFFINITY


@pytest.mark.parametrize("there, wanted", [({3}, [ONE_CPU]), ({0, 1}, [OWN_CPUS, ONE_CPU])])
def test_who_is_beside_it_and_where(monkeypatch, there, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: there)
    assert hostile.besides() == [Beside(who, cpus) for cpus in wanted for who in (NOBODY, *ATTACKS)]
    for cpus in wanted:
        honest, other = hostile._cpus(cpus)
        assert honest and other and (honest == other) == (cpus == ONE_CPU) == bool(honest & other)


def test_an_idle_vm_that_does_not_start(kvm, bpf, tmp_path):
    with pytest.raises(UserError, match="the guest did not start; it said .*none.*No such file"), \
            Neighbours(tmp_path / "none") as idle:
        idle.add()


def test_percentiles_are_of_all_passes(image, kvm):
    config = MachineConfig(BUILD / "measure.elf", measure.MEMORY, cmdline="stamps=32 passes=3 bytes=512",
                           disks=[DiskConfig(image, offload="off")])
    assert tail.stamped(measure.run_machine(config)[1], measure.tsc_khz()).total() == 96


def test_of_several_loops_the_median_counts(kvm):
    assert measure.counted("".join(f"exits: count=5 ticks={ticks}\n" for ticks in (7, 900, 11, 9, 10)))["ticks"] == 10
    assert measure.run_exits(next(case for case in EXIT_CASES if case.op == "user-python"), 5, 3).exits == 15


def test_the_middle_of_times():
    times = Counter({10.0: 6, 70.0: 4})
    assert (tail.mean(times), tail.median(times)) == (34, 10)


def grid(*rows):
    found = tables.requests("host", {"kernel": "6.18", "cpus": 2}, list(rows))
    return [dict(zip(found.head, line)) for line in found.body]


def test_what_others_cost_is_told_repetition_by_repetition():
    one, many = host_row(ns=1000, spread=(1, 2, 3)), host_row(vms=64, ns=1500, spread=(1, 2, 1))
    alone, beside = grid(one, many)
    assert (alone["beside"], alone["times"], alone["ns more"]) == (NOBODY, "-", "-")
    assert (beside["beside"], beside["times"], beside["ns more"]) == ("63 idle", "1.50", "500")


def test_vms_of_ours_are_all_beside_one_that_is_not():
    assert [line["beside"] for line in grid(*(host_row("foreign", vms) for vms in (0, 1, 64)))] == [
        NOBODY, "1 idle", "64 idle"]


def test_reads_beside_a_hostile_one_are_held_against_those_on_the_same_cpus():
    rows = [host_row("read", 1 + (who != NOBODY), ns, beside=who, placed=cpus) for cpus, who, ns in (
        (OWN_CPUS, NOBODY, 1000), (OWN_CPUS, "chains", 1000), (ONE_CPU, NOBODY, 2000), (ONE_CPU, "chains", 6000))]
    assert [line["times"] for line in grid(host_row("read", ns=500), *rows)] == ["-", "-", "1.00", "-", "3.00"]


def test_two_runs_of_as_many_vms_are_compared(tmp_path):
    def made(name, ns):
        return read(write(tmp_path / name, host_row(), host_row(vms=64, ns=ns, kernel_bytes=4, own_bytes=5),
                          host_row("read", 2, beside="chains", placed=ONE_CPU)))
    found = compare(made("a", 3000.0), made("b", 9000.0))
    assert [pair.row["vms"] for pair in found.worse] == [64] and len(found.pairs) == 3


@pytest.mark.parametrize("changes, says", [
    ({"vms": -1}, "rows[0].vms: -1; wanted a whole number, 0 or more"), ({"beside": 5}, "rows[0].beside: 5; wanted"),
    ({"kernel_bytes": "x"}, "rows[0].kernel_bytes: 'x'; wanted a whole number, 0 or more"),
    ({"own_bytes": None}, "rows[0].own_bytes: None; wanted a whole number"),
    ({"placed": "\n"}, "rows[0].placed: '\\n'; wanted printable text")])
def test_rows_that_are_none(tmp_path, changes, says):
    with pytest.raises(UserError) as error:
        read(write(tmp_path / "rows", host_row(**changes)))
    assert says in str(error.value)
