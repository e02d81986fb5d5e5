"""A Linux guest's disk and network under each mode and under QEMU, and its way to userspace."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..errors import UserError
from ..paths import BUILD
from ..sync.signals import temporary_folder
from . import guest, measure, net
from .guest import Counts, LinuxGuest, Setting
from .native import binding
from .rows import LinuxCase, linux_disk_cases, linux_net_cases, spread

GUEST = BUILD / "nested" / "612"        # as tools.nested.build makes it
IMAGE_BYTES = 64 << 20
TRIPS = 1000
DISKS = {"writeback": "/dev/vda", "none": "/dev/vdb"}
SEGMENT = 64 << 10          # what is counted as one request of a TCP stream
_TCP = re.compile(r"([\d.]+)-([\d.]+) +sec .* ([\d.]+) Kbits/sec +receiver")
_UDP = re.compile(r"([\d.]+)-([\d.]+) +sec .* (\d+)/(\d+) \([^)]*\) +receiver")


def hardware_kvm() -> bool:
    """Whether KVM here has the processor's help: one that emulates ring 0 itself runs no Linux of a
    distribution."""
    return bool(re.search(r"\b(svm|vmx)\b", Path("/proc/cpuinfo").read_text()))


@dataclass(frozen=True)
class Taken:
    """One case in one run: requests, nanoseconds for each, and what they cost."""

    requests: int
    ns: float
    counts: Counts
    p99_ns: float | None = None


def rows(modes: list[str], peers: list[str], repeat: int, quick: bool, where: Path | None = None) -> list[dict]:
    """Measure everything in every mode, interleaved.  This process changes its network namespace."""
    if not hardware_kvm():
        raise UserError("bench linux: no SVM or VMX in /proc/cpuinfo, so this KVM cannot run the guest; wanted "
                        "--in-nested")
    modes, cases, seconds = [*modes, *peers], linux_disk_cases(), 1 if quick else 3
    if peers:
        measure.require_qemu()
    taken: dict[tuple[LinuxCase, str], list[Taken]] = {}
    net.enter_namespace()
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")      # datagram sockets for ICMP
    with temporary_folder("splitvmm-bench-", where) as folder, Iperf():
        at = _setting(Path(folder))
        for number in range(repeat):
            for mode in modes:
                print(f"linux: {mode}, {number + 1} of {repeat}", file=sys.stderr, flush=True)
                with LinuxGuest(guest.command(at, mode)) as running:
                    for case, value in _run(running, cases if mode != "vhost" else [], seconds):
                        taken.setdefault((case, mode), []).append(value)
    order = [LinuxCase("boot"), *cases, *linux_net_cases()]
    return [_row(case, mode, taken[case, mode]) for case in order for mode in modes if (case, mode) in taken]


def _setting(folder: Path) -> Setting:
    """Images, in the page cache, and the guest's files.  Raises UserError."""
    parts = [GUEST / name for name in ("vmlinux", "guest.img", "guest-tools.img")]
    for part in parts:
        if not part.exists():
            raise UserError(f"{part}: not there; wanted `python -m tools.nested.build` to have made it")
    initrd, images = folder / "initrd", (folder / "cached", folder / "direct")
    initrd.write_bytes(b"".join(part.read_bytes() for part in parts[1:]))
    for image in images:
        image.write_bytes(os.urandom(IMAGE_BYTES))
    os.sync()
    return Setting(parts[0], initrd, *images, net.TAP, net.GUEST_MAC.hex(":"))


def _run(running: LinuxGuest, cases: list[LinuxCase], seconds: int):
    """Everything in one guest: (case, what it took)."""
    yield LinuxCase("boot"), Taken(1, running.up_ns, running.counts())
    if cases:
        yield from zip(cases, _fio(running, cases, seconds))
    net.plug_in()
    running.do(f"ip link set eth0 up && ip addr add {net.GUEST_IP}/24 dev eth0")
    for case in linux_net_cases():
        yield case, _ping(running) if case.op == "ping" else _iperf(running, case, seconds)
    running.power_off()


# fio

def _job(number: int, case: LinuxCase, seconds: int) -> list[str]:
    """A section of fio's.  A mark on the console before and after, for us to read the counters."""
    marks = [f"exec_{when}run=echo mark {number} | tee /dev/console" for when in ("pre", "post")]
    return [f"[{number}]", "stonewall", f"filename={DISKS[case.cache]}", f"rw=rand{case.op}", f"runtime={seconds}",
            f"iodepth={case.depth}", f"ioengine={'psync' if case.depth == 1 else 'libaio'}", *marks]


def _fio(running: LinuxGuest, cases: list[LinuxCase], seconds: int) -> list[Taken]:
    """All cases, in one run of fio."""
    job = ["[global]", "direct=1", "bs=4k", "time_based", "norandommap", "thread"]
    for number, case in enumerate(cases):
        job += _job(number, case, seconds)
    running.do("printf '" + "\\n".join(job) + "\\n' > /tmp/job")
    marks: list[list[Counts]] = [[] for _ in cases]
    said = []
    for line in running.run("fio --output-format=terse --terse-version=3 /tmp/job"):
        if found := re.fullmatch(r"mark (\d+)", line):
            marks[int(found[1])].append(running.counts())
        elif line.startswith("3;fio-"):
            said.append(line.split(";"))
    if len(said) != len(cases) or any(len(pair) != 2 for pair in marks):
        raise UserError(f"fio: {len(said)} results of {len(cases)}")
    return [_fio_taken(case, fields, *pair) for case, fields, pair in zip(cases, said, marks)]


def _fio_taken(case: LinuxCase, fields: list[str], before: Counts, after: Counts) -> Taken:
    """fio(1), terse output, version 3: of reads from field 6 on, of writes from 47 on (counted from 1):
    KiB, bandwidth, operations a second, milliseconds; the 99th percentile (in us) is the 24th after."""
    first = 5 if case.op == "read" else 46
    requests, milliseconds = int(fields[first]) // 4, int(fields[first + 3])
    tail = next(field for field in fields[first + 12:first + 32] if field.startswith("99.000000%"))
    return Taken(requests, milliseconds * 1e6 / requests, after.since(before), int(tail.split("=")[1]) * 1e3)


# network

def _ping(running: LinuxGuest) -> Taken:
    """Echo requests to the guest, each when the one before has come back; the median."""
    ffi, lib = binding()
    took = ffi.new("uint64_t[]", TRIPS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        client.connect((net.GUEST_IP, 0))
        echo = struct.pack(">BBHHH", 8, 0, 0, 0, 1) + bytes(56)
        lib.udp_round_trips(client.fileno(), echo, len(echo), 16, took)
        before = running.counts()
        came = lib.udp_round_trips(client.fileno(), echo, len(echo), TRIPS, took)
        after = running.counts()
    if came < TRIPS:
        raise UserError(f"ping: {came} of {TRIPS} came back")
    found = sorted(took)
    return Taken(TRIPS, median(found), after.since(before), found[TRIPS * 99 // 100])


class Iperf:
    """iperf3's server, in this namespace; a context manager."""

    def __enter__(self):
        try:
            self._process = subprocess.Popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise UserError("no iperf3; wanted it for the network's other end: install iperf3") from None
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


def _iperf(running: LinuxGuest, case: LinuxCase, seconds: int) -> Taken:
    """A stream of one direction; counted are requests that arrived."""
    protocol, _, direction = case.op.partition("-")
    # a frame of 64 bytes: 22 of them are the datagram's
    command = f"iperf3 -c {net.HOST_IP} -f k -t {seconds}" + (" -u -b 0 -l 22" if protocol == "udp" else "")
    command += " -R" if direction == "receive" else ""
    before = running.counts()
    # only what is wanted of it: each character is an exit
    said = running.do(f"{command} > /tmp/iperf && grep receiver /tmp/iperf || ! tail -5 /tmp/iperf")
    counts = running.counts().since(before)
    found = next((match for line in said if (match := (_UDP if protocol == "udp" else _TCP).search(line))), None)
    if not found:
        raise UserError(f"{command}: it said {said[-5:]}; wanted its summary")
    took_ns = (float(found[2]) - float(found[1])) * 1e9
    requests = (int(found[4]) - int(found[3]) if protocol == "udp" else
                round(float(found[3]) * took_ns / 8e6 / SEGMENT))
    return Taken(requests, took_ns / max(1, requests), counts)


# rows

def _row(case: LinuxCase, mode: str, taken: list[Taken]) -> dict:
    def each(name: str) -> float:
        return round(median(getattr(one.counts, name) / max(1, one.requests) for one in taken), 3)
    tails = [one.p99_ns for one in taken if one.p99_ns is not None]
    requests = taken[-1].requests
    return {"bench": "linux", "mode": mode, "op": case.op, "pattern": "random" if case.cache else None,
            "bytes": case.bytes, "depth": case.depth, "wait": "interrupt", "ring": 3, "cache": case.cache,
            "requests": requests, **spread([one.ns for one in taken]), "floor_ns": 0.0,
            "p99_ns": median(tails) if tails else None,
            "cpu_ns_per_request": each("cpu"), "cpu_vcpu_ns": each("vcpu"), "cpu_ring_ns": each("ring"),
            "exits": round(each("exits") * requests), "exits_to_user": round(each("to_user") * requests),
            "handled": None, "declined": None}
