"""Packets: what a guest sends and receives, and round trips, in a network namespace of our own."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

from ..errors import UserError
from ..machine.config import MachineConfig, NicConfig
from ..paths import BUILD
from . import measure, tail
from .measure import MEMORY, TIMEOUT_S, Sample
from .native import binding
from .rows import QUICK_NET, NetCase, net_cases, spread

TAP = "vmbench0"
GUEST_MAC = bytes.fromhex("020000000001")
HOST_IP, GUEST_IP = "10.77.0.1", "10.77.0.2"
ECHO_PORT, END_PORT = 7, 9
TRIPS = 4000
_LINE = re.compile(r"(?:transmit|receive): packets=(\d+) ticks=(\d+)")


def enter_namespace() -> None:
    """Give this process a network namespace of its own, for good.  Raises UserError."""
    if error := binding()[1].new_network():
        raise UserError(f"a network namespace: {os.strerror(-error)}; wanted CAP_SYS_ADMIN, as root has")


def rows(modes: list[str], peers: list[str], repeat: int, quick: bool, machine: dict, progress) -> list[dict]:
    """Measure every case in every mode, interleaved.  This process changes its network namespace."""
    enter_namespace()
    cases, modes = list(QUICK_NET if quick else net_cases()), [*modes]
    if peers:
        measure.require_qemu()
        modes += peers
    found = []
    with progress() as bar:
        task = bar.add_task("net", total=len(cases) * repeat * len(modes))
        for case in cases:
            taken: dict[str, list[Taken]] = {mode: [] for mode in modes}
            for _ in range(repeat):
                for mode in modes:
                    bar.update(task, description=f"net {case.op} {case.bytes} {mode}")
                    taken[mode].append(_once(case, mode, quick, machine))
                    bar.advance(task)
            found += [_row(case, mode, taken[mode]) for mode in modes]
    return found


@dataclass(frozen=True)
class Taken:
    """One repetition of a case in a mode: requests, ns for each, what the whole run took, and single ones in ns."""

    requests: int
    ns: float
    sample: Sample
    times: Counter[float] = field(default_factory=Counter)


def _row(case: NetCase, mode: str, taken: list[Taken]) -> dict:
    requests, last = taken[-1].requests, taken[-1].sample
    cpu, vcpu, ring = (median(getattr(one.sample, part) / one.requests for one in taken)
                       for part in ("cpu_ns", "vcpu_ns", "ring_ns"))
    return {"bench": "net", "mode": mode, **asdict(case), "pattern": None, "wait": "poll", "ring": 3,
            "requests": requests, **spread([one.ns for one in taken]),
            **tail.percentiles(sum((one.times for one in taken), Counter())), "floor_ns": 0.0,
            "cpu_ns_per_request": round(cpu, 1), "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": round(ring, 1),
            "exits_to_user": last.exits, "handled": last.handled, "declined": last.declined, "why": last.why,
            "doorbells": last.doorbells, "interrupts": last.interrupts}


def _once(case: NetCase, mode: str, quick: bool, machine: dict) -> Taken:
    scale = (1 if quick else 4) * (8 if mode in ("on", "host", "qemu") else 1)
    if case.op == "transmit":
        return _transmitted(case, mode, scale, quick, machine)
    if case.op == "receive":
        cmdline = f"op=receive bytes={_length(case)} packets={scale * (8192 if case.bytes < 65536 else 1024)}"
        return _streamed(mode, cmdline, Flood(case), machine)
    trips = RoundTrips(TRIPS // (4 if quick else 1))
    sample, _ = _run(mode, "op=echo", trips)
    return Taken(len(trips.took), median(trips.took), sample, Counter(trips.took))


def _transmitted(case: NetCase, mode: str, scale: int, quick: bool, machine: dict) -> Taken:
    batches = max(64, scale * 8192 // (case.depth if case.bytes < 65536 else 8 * case.depth))
    depth = min(case.depth, 8) if case.bytes >= 65536 else case.depth
    cmdline = f"op=transmit bytes={_length(case)} depth={depth} batches={batches}"
    found = _streamed(mode, cmdline, _nothing, machine)
    stamps = tail.how_many(50 if quick else 200, found.ns * depth)
    _, text = _run(mode, f"{cmdline} stamps={stamps}", _nothing)
    return replace(found, times=tail.stamped(text, machine["tsc_khz"]))


def _streamed(mode: str, cmdline: str, during, machine: dict) -> Taken:
    """By the guest's own clock."""
    sample, text = _run(mode, cmdline, during)
    found = _LINE.search(text)
    if not found:
        raise UserError(f"the network guest said {text.strip()[-200:]!r}; wanted its figures")
    packets = int(found[1])
    return Taken(packets, int(found[2]) / packets * 1e6 / machine["tsc_khz"], sample)


def _run(mode: str, cmdline: str, during) -> tuple[Sample, str]:
    run = _run_qemu if mode == "qemu" else _run_ours
    return run(mode, f"{cmdline} ring=3 ip={int.from_bytes(socket.inet_aton(GUEST_IP), 'big'):#x}", during)


def _length(case: NetCase) -> int:
    """Of the frame: 1,500 bytes are an IP packet's, and 64 KiB must stay below what IP can say."""
    return {1500: 1514, 65536: 65000}.get(case.bytes, case.bytes)


def _nothing() -> None:
    """The guest alone."""


class Flood:
    """Frames to the guest from a packet socket, as many as the interface takes."""

    def __init__(self, case: NetCase):
        self.case = case
        self.ffi, self.lib = binding()
        self.stop = self.ffi.new("uint32_t *")

    def __call__(self) -> None:
        fd = self.lib.packet_socket(TAP.encode())
        if fd < 0:
            raise UserError(f"packet socket: {os.strerror(-fd)}; wanted CAP_NET_RAW")
        frame = self._frame()
        self._thread = threading.Thread(target=lambda: (self.lib.packet_flood(fd, self.ffi.from_buffer(frame),
                                                                              len(frame), self.stop), os.close(fd)))
        self._thread.start()

    def end(self) -> None:
        self.stop[0] = 1
        self._thread.join()

    def _frame(self) -> bytearray:
        """A header for the packet socket (struct virtio_net_hdr, 10 bytes), and the frame."""
        length, large = _length(self.case), self.case.bytes >= 65536
        header = struct.pack("<BBHHHH", 1, 1, 54, 1448, 34, 16) if large else bytes(10)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length - 14, 0, 0, 64, 6 if large else 17, 0,
                         socket.inet_aton(HOST_IP), socket.inet_aton(GUEST_IP))
        frame = GUEST_MAC + bytes.fromhex("0200000000aa0800") + ip + bytes(12) + (b"\x50" if large else b"")
        return bytearray(header + frame.ljust(length, b"\0"))


class RoundTrips:
    """UDP datagrams to the guest and back, one at a time."""

    def __init__(self, count: int):
        self.count, self.took = count, []

    def __call__(self) -> None:
        ffi, lib = binding()
        took = ffi.new("uint64_t[]", self.count)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(None)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 2, 0))
            client.connect((GUEST_IP, ECHO_PORT))
            data = bytes(22)    # a frame of 64 bytes
            lib.udp_round_trips(client.fileno(), data, len(data), 16, took)
            came = lib.udp_round_trips(client.fileno(), data, len(data), self.count, took)
            self.took = list(took[0:came])
            client.sendto(b"", (GUEST_IP, END_PORT))
        if came < self.count:
            raise UserError(f"udp-rtt: {came} of {self.count} datagrams came back")

    def end(self) -> None:
        """The guest has ended by itself."""


def plug_in(host_ip: str = HOST_IP) -> None:
    """Give the interface an address, and know the guest's."""
    # a long queue: of packets, while we wait for a CPU
    commands = (f"link set {TAP} up txqueuelen 10000\naddr replace {host_ip}/24 dev {TAP}\n"
                f"neigh replace {GUEST_IP} lladdr {GUEST_MAC.hex(':')} dev {TAP} nud permanent\n")
    done = subprocess.run(["ip", "-batch", "-"], input=commands, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{TAP}: {done.stderr.strip()}")


def wait_ready(text_of) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while "net: ready" not in text_of():
        if time.monotonic() > deadline:
            raise UserError("the network guest did not start")
        time.sleep(0.01)


def _place(vcpus: list[int]) -> None:
    """The vCPU on the first CPU: whoever loads it is on the last."""
    cpus = sorted(os.sched_getaffinity(0))
    for thread in vcpus if len(cpus) > 1 else ():
        os.sched_setaffinity(thread, {cpus[0]})


def _qemu_vcpus(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(task.name) for task in tasks if (task / "comm").read_text().startswith("CPU ")]


def _run_ours(mode: str, cmdline: str, during) -> tuple[Sample, str]:
    config = MachineConfig(BUILD / "net.elf", MEMORY, cmdline=cmdline,
                           nets=[NicConfig(TAP, mac=GUEST_MAC, offload=mode)])

    def meanwhile(machine):
        if during is _nothing:
            return
        plug_in()
        wait_ready(lambda: Path(config.serial[5:]).read_text())
        _place([thread.native_id for thread in machine.threads])
        during()
        if isinstance(during, Flood):
            deadline = time.monotonic() + TIMEOUT_S
            while machine.status is None and time.monotonic() < deadline:
                time.sleep(0.01)
            during.end()
    return measure.run_machine(config, during=meanwhile)


def _run_qemu(_mode: str, cmdline: str, during) -> tuple[Sample, str]:
    """The same guest on QEMU's virtio-net in userspace, on the same TAP."""
    with tempfile.NamedTemporaryFile() as output:
        command = measure.qemu_command(
            "net.elf", cmdline, output.name,
            "-netdev", f"tap,id=n,ifname={TAP},script=no,downscript=no,vhost=off",
            "-device", f"virtio-net-device,netdev=n,mac={GUEST_MAC.hex(':')}")
        before = measure.children_ns()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                if during is not _nothing:
                    wait_ready(lambda: Path(output.name).read_text() or _alive(process))
                    plug_in()
                    _place(_qemu_vcpus(process.pid))
                    during()
                status = process.wait(TIMEOUT_S)
            finally:
                process.kill()
                if isinstance(during, Flood):
                    during.end()
            measure.check_qemu(status, process.stderr.read())
        return Sample(0, cpu_ns=measure.children_ns() - before), Path(output.name).read_text()


def _alive(process) -> str:
    if process.poll() is not None:
        raise UserError(f"qemu: status {process.returncode}: {process.stderr.read().decode()[-300:]!r}")
    return ""
