"""What fio and iperf3 print, as rows; and how the benchmarks are asked for."""

import os

import pytest

from vmm.bench import linux, tables
from vmm.bench.guest import Counts, Setting, command
from vmm.bench.linux import Taken
from vmm.bench.rows import LinuxCase, linux_disk_cases, linux_net_cases
from vmm.cli import main as cli

READ = LinuxCase("read", 4096, 1, "writeback")
WRITE = LinuxCase("write", 4096, 32, "none")
# fio 3.33, terse version 3: of the job, then 41 fields of reads, 41 of writes, then CPU and the rest
HEAD = ["3", "fio-3.33", "0", "0", "0"]
PERCENTILES = [f"{p:.6f}%={us}" for p, us in ((1, 210), (50, 400), (95, 700), (99, 1466), (99.9, 2500))] + ["0%=0"] * 15
BUSY = ["8000", "4000", "1000", "2000", "0", "0", "0.0", "0.0", "200", "9000", "480.5", "90.1", *PERCENTILES, "210",
        "9100", "490.1", "91.0", "0", "0", "0.0%", "0.0", "0.0"]
IDLE = ["0"] * 41


@pytest.mark.parametrize("case, fields", [(READ, HEAD + BUSY + IDLE), (WRITE, HEAD + IDLE + BUSY)])
def test_fio(case, fields):
    taken = linux._fio_taken(case, fields, Counts(exits=100), Counts(exits=3100, to_user=50))
    assert (taken.requests, taken.ns, taken.p99_ns) == (2000, 1e6, 1466e3)
    assert taken.counts == Counts(exits=3000, to_user=50)


class Says:
    """A guest whose iperf3 says this."""

    def __init__(self, *lines):
        self.lines = list(lines)

    def counts(self):
        return Counts()

    def do(self, command):
        self.command = command
        return self.lines


def test_iperf_tcp():
    said = Says("[  5]   0.00-2.00   sec  25.0 MBytes  104858 Kbits/sec    0             sender",
                "[  5]   0.00-2.00   sec  25.0 MBytes  104858 Kbits/sec                  receiver")
    taken = linux._iperf(said, LinuxCase("tcp-receive", 65536), 2)
    assert taken.requests == 400 and taken.ns == 5e6 and " -R >" in said.command


def test_iperf_udp():
    said = Says("[  5]   0.00-2.00   sec   420 KBytes  1720 Kbits/sec  0.111 ms  1000/21000 (4.8%)  receiver")
    taken = linux._iperf(said, LinuxCase("udp-send", 64), 2)
    assert taken.requests == 20000 and taken.ns == 1e5 and " -u " in said.command


def test_rows_and_their_table(capsys):
    taken = [Taken(100, ns, Counts(100_000, 50_000, 0, 400, 10), 3 * ns) for ns in (2e5, 4e5, 3e5)]
    faster = [Taken(100, ns, Counts(), 3 * ns) for ns in (1e5, 1e5, 3e5)]
    found = [linux._row(READ, "off", taken), linux._row(READ, "on", faster)]
    assert (found[0]["ns_per_request"], found[0]["ns_min"], found[0]["ns_max"]) == (3e5, 2e5, 4e5)
    assert (found[0]["exits"], found[0]["exits_to_user"], found[0]["cpu_ns_per_request"]) == (400, 10, 1000)
    tables.show("linux", {"kernel": "6.12", "cpus": 2, "memcpy_bytes_per_s": 1e9}, found)
    said = capsys.readouterr().out
    assert "read 4 KiB x1, cached" in said and "2.00x" in said     # of 2, 4 and 1


def test_every_row_that_was_asked_for():
    assert {(c.op, c.depth, c.cache) for c in linux_disk_cases()} == {
        (op, depth, cache) for op in ("read", "write") for depth in (1, 32) for cache in ("writeback", "none")}
    assert {c.op for c in linux_net_cases()} == {"ping", "tcp-send", "tcp-receive", "udp-send", "udp-receive"}


def test_commands_have_the_same_devices(tmp_path):
    at = Setting(*(tmp_path / name for name in ("kernel", "initrd", "cached", "direct")), "t0", "02:00:00:00:00:01")
    for mode in ("off", "host", "on", "qemu", "vhost"):
        words = " ".join(command(at, mode))
        assert all(str(path) in words for path in (at.kernel, at.initrd, at.cached, at.direct)) and at.mac in words
        assert ("vhost=on" in words) == (mode == "vhost")
        assert (f"offload={mode}" in words) == (mode in ("off", "host", "on"))


@pytest.mark.parametrize("words, says", [
    (["blk", "--peer", "vhost"], "'vhost' with blk; wanted qemu"), (["exits", "--peer", "qemu"], "wanted none"),
    (["linux", "--peer", "xen"], "wanted qemu or vhost"), (["linux", "--modes", "fast"], "--modes 'fast'"),
    (["net", "--json", "/nowhere/at/all"], "no folder /nowhere/at")])
def test_mistakes(words, says, capsys):
    assert cli.main(["bench", *words]) == os.EX_USAGE
    assert says in capsys.readouterr().err


def test_a_kvm_that_runs_no_linux(kvm, monkeypatch, capsys):
    monkeypatch.setattr(linux, "hardware_kvm", lambda: False)
    assert cli.main(["bench", "linux"]) == os.EX_USAGE
    assert "wanted --in-nested" in capsys.readouterr().err
