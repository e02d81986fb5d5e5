"""One run of a measuring guest, under splitvmm or under QEMU: what it took."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..device.place import Routed
from ..devices.probe import ProbeDevice, ProbeReadDevice
from ..devmodel.devices.probe import Probe
from ..devmodel.exit_path import Action, Bus
from ..devmodel.schema import Access
from ..errors import UserError
from ..kvm.coalesced import CoalescedRing, why_not
from ..machine.config import DiskConfig, MachineConfig, RecordConfig
from ..machine.machine import Machine
from ..machine.stats import device_totals
from ..offload.objects import route_bytes
from ..paths import BUILD
from .rows import EXIT_CASES

MEMORY = 64 << 20
TIMEOUT_S = 120
_LINE = re.compile(r"(?:measure|exits): \w+=\d+ ticks=(?P<ticks>\d+)"
                   r"(?: floor=(?P<floor>\d+) rung=(?P<rung>\d+) interrupts=(?P<interrupts>\d+))?")


@dataclass(frozen=True)
class Sample:
    """What one run took: `ticks` of the loop alone (of several, the median one), the rest of the whole run."""

    ticks: int
    floor_ticks: int = 0    # of the same loop around a doorbell that is claimed and ignored, if it was run
    cpu_ns: int = 0
    vcpu_ns: int = 0        # of it, the vCPUs' threads
    ring_ns: int = 0        # and the thread that polls the rings, and its workers
    exits: int = 0          # returns to Python, declines included that no native build did
    port_exits: int = 0     # of them, those with an access of a port
    handled: int = 0
    declined: int = 0
    why: str = ""           # the most frequent reason for that
    doorbells: int | None = None        # that the driver rang, in the loop alone where the guest counts them
    interrupts: int | None = None       # that it took in the loop, where it counts them


def run_machine(config: MachineConfig, devices=(), prepare=lambda machine: None,
                during=lambda machine: None, after=lambda machine: None) -> tuple[Sample, str]:
    """Run a guest; what it took, ticks aside, and what it printed.  `during` runs while it does, on
    this thread, whose time does not count; `after` when it has ended."""
    with tempfile.NamedTemporaryFile() as output:
        config.serial = f"file={output.name}"
        with Machine(config, devices) as machine:
            prepare(machine)
            before, own, ring = time.process_time_ns(), time.thread_time_ns(), ring_time_ns()
            machine.start()
            during(machine)
            status = machine.wait(TIMEOUT_S)
            after(machine)
            cpu = time.process_time_ns() - before - (time.thread_time_ns() - own)
            ring = ring_time_ns() - ring
            exits = sum(thread.exits for thread in machine.threads)
            ports = sum(thread.port_exits for thread in machine.threads)
            if machine.bpf:
                exits += sum(e.outbox.head for e in machine.bpf.exits) - sum(v.loop.assisted for v in machine.vcpus)
            handled, declined, why = _counters(machine.devices[0])
            doorbells = _doorbells(machine.devices[0])
            vcpu = sum(thread.cpu_ns for thread in machine.threads)
        text = Path(output.name).read_text()
        if status:
            raise UserError(f"the measuring guest ended with status {status} and said {text.strip()[-200:]!r}; "
                            "wanted 0")
        return Sample(0, 0, cpu, vcpu, ring, exits, ports, handled, declined, why, doorbells), text


def ring_time_ns() -> int:
    """What io_uring's threads of this process have used so far (proc(5): /proc/PID/task/TID/stat, in
    ticks of the clock, and schedstat, which is exact)."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            if (task / "comm").read_text().startswith("iou-"):
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue        # it has ended meanwhile
    return total


def run(config: MachineConfig, devices=(), prepare=lambda machine: None, after=lambda machine: None) -> Sample:
    sample, text = run_machine(config, devices, prepare, after=after)
    return replace(sample, **counted(text))


def _counters(device) -> tuple[int, int, str]:
    """What a device's kernel half handled and declined, and why; a device without queues counts doorbells."""
    if device.layout.queues:
        totals = device_totals(device)
        declined = totals["declined"]
        why = max(declined, key=declined.get, default="")
        meaning = device.layout.reasons[why.upper()].__doc__ if why else ""
        return totals["handled"], sum(declined.values()), meaning
    entry = device.state.control.entry
    return entry.doorbells - sum(entry.declined), sum(entry.declined), ""


def _doorbells(device) -> int | None:
    """That reached the device; of its queues, where it has some."""
    if not device.layout.queues:
        return None
    return device_totals(device)["user_doorbells" if device.mode == "off" else "doorbells"]


def counted(text: str) -> dict[str, int]:
    """What the guest itself says of its loop, as fields of a Sample; of several, of the median one."""
    found = sorted(_LINE.finditer(text), key=lambda line: int(line["ticks"]))
    if not found:
        raise UserError(f"the measuring guest said {text.strip()[-200:]!r}; wanted its figures")
    names = {"ticks": "ticks", "floor_ticks": "floor", "doorbells": "rung", "interrupts": "interrupts"}
    line = found[len(found) // 2]
    return {name: int(line[said]) for name, said in names.items() if line[said] is not None}


def claim(machine, address: int) -> int:
    """An ioeventfd that nobody listens to."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    machine.vm.ioeventfd(Bus.MMIO, address, 4, fd, True)
    return fd


def run_exits(case, count: int, loops: int = 1) -> Sample:
    """The guest that goes through a list of accesses, so often in each loop.  Its exits are those of the list: not
    those with which it prints, by a port."""
    device = ProbeReadDevice("probe") if case.read == "counter" else ProbeDevice("probe")
    base, registers, fds, shown = 0xd0000000, device.layout.registers, [], {}
    words = [f"write{i}={base + registers[name].offset:#x}" for i, name in enumerate(case.writes)]
    words += [f"read={base + registers[case.read].offset:#x}"] if case.read else []

    def prepare(machine):
        address = base + registers["claimed"].offset if "claimed" in case.writes else 0
        if case.op == "claimed":
            fds.append(claim(machine, address))
        elif case.op == "user-c":
            route = Routed(address, 4, Action.IGNORE, registers["claimed"].offset)
            host = machine.offloading.host
            host.lib.exit_path_add(host.path, *route_bytes(device, route), host.ffi.NULL,
                                   host.ffi.NULL, host.ffi.NULL, -1)
        elif case.coalesced:
            first, last = (registers[case.writes[i]] for i in (0, case.coalesced - 1))
            ring = CoalescedRing(machine.vm, machine.vcpus, machine.buses[Bus.MMIO])
            ring.add(base + first.offset, last.offset + last.type.size - first.offset)

    def look(_machine):
        shown.update({name: getattr(device.page, name) for name in case.writes if registers[name].access is Access.RW})
    config = MachineConfig(BUILD / "exits.elf", MEMORY, cmdline=" ".join([f"count={count} loops={loops}", *words]))
    try:
        with tempfile.NamedTemporaryFile() as record:
            config.record = RecordConfig(Path(record.name)) if case.recorded else None
            sample = run(config, ((device, case.mode),), prepare, look)
    finally:
        for fd in fds:
            os.close(fd)
    _check_shown(case, shown)
    return replace(sample, exits=sample.exits - sample.port_exits)


def _check_shown(case, shown: dict[str, int]) -> None:
    """Whether all that the guest wrote in its last round is in the registers that keep it."""
    wanted = {name: value for value, name in enumerate(case.writes, 1) if name in shown}
    if shown != wanted:
        raise UserError(f"{case.op}: in the end the registers are {shown}; wanted {wanted}, as the guest wrote them")


def why_not_coalesced() -> str:
    """Why KVM has no ring for writes, or ""."""
    with Machine(MachineConfig(memory=1 << 20, serial="null")) as machine:
        return why_not(machine.vm)


def run_message(count: int, loops: int, image: Path) -> Sample:
    """A claimed doorbell that has KVM inject the message by which a queue of an idle disk is collected."""
    fds, address = [], 0xd0001000 + Probe.claimed.offset

    def prepare(machine):
        fds.append(machine.interrupts.collector(0, 0))
        machine.vm.ioeventfd(Bus.MMIO, address, 4, fds[0], True)
    config = MachineConfig(BUILD / "exits.elf", MEMORY, cmdline=f"count={count} loops={loops} write0={address:#x}",
                           disks=[DiskConfig(image, read_only=True, offload="on")])
    try:
        sample = run(config, ((ProbeDevice("probe"), "on"),), prepare)
    finally:
        for fd in fds:
            os.close(fd)
    return replace(sample, exits=sample.exits - sample.port_exits)


def run_foreign(count: int, attached: bool) -> Sample:
    """A claimed doorbell in a VM that is not offloaded, while another VM of ours is, or is not."""
    claimed = EXIT_CASES[0]
    if not attached:
        return run_exits(claimed, count)
    other = subprocess.Popen([sys.executable, "-c", _OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()     # it is attached
        return run_exits(claimed, count)
    finally:
        other.communicate()


_OTHER = """
from vmm.bench.measure import *
with Machine(MachineConfig(memory=1 << 20, serial="null"), ((ProbeDevice("other"), "on"),)):
    print("attached", flush=True)
    sys.stdin.read()
"""


def qemu_available() -> bool:
    return shutil.which("qemu-system-x86_64") is not None


def require_qemu() -> None:
    if not qemu_available():
        raise UserError("--peer qemu: no qemu-system-x86_64; install qemu-system-x86")


def qemu_command(guest: str, cmdline: str, serial: str, *devices: str) -> list[str]:
    """QEMU's microvm with one of our guests and some devices of its own; it ends with status 1."""
    return qemu_microvm("acpi=off,ioapic2=off,rtc=off", "qemu64,-sse3", MEMORY, BUILD / guest, cmdline,
                        f"file:{serial}", "-global", "virtio-mmio.force-legacy=false", *devices,
                        "-device", "isa-debug-exit,iobase=0x501,iosize=4")


def qemu_microvm(machine: str, cpu: str, memory: int, kernel: Path, cmdline: str, serial: str, *more: str) -> list[str]:
    """QEMU's microvm with these properties; `memory` is in bytes, `more` further arguments."""
    return ["qemu-system-x86_64", "-M", f"microvm,{machine}", "-accel", "kvm", "-cpu", cpu, "-m", str(memory >> 20),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-name", "bench,debug-threads=on",
            "-kernel", str(kernel), "-append", cmdline, "-serial", serial, *more]


def children_ns() -> int:
    """CPU time of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def check_qemu(status: int, said: bytes) -> None:
    if status != 1:
        raise UserError(f"qemu: status {status}: {said.decode()[-300:]!r}; wanted 1")


def tsc_khz() -> int:
    """Ticks of the guests' clock, per millisecond."""
    with Machine(MachineConfig(memory=1 << 20, serial="null")) as machine:
        return machine.vm.call("KVM_GET_TSC_KHZ", 0, machine.vcpus[0].fd)


def memcpy_bytes_per_s() -> float:
    """This machine's memcpy over 1 MiB pieces of 64 MiB, the median of 9 rounds."""
    source, target = bytearray(os.urandom(1 << 20)) * 64, bytearray(64 << 20)
    a, b, rounds = memoryview(source), memoryview(target), []
    for _ in range(9):
        start = time.perf_counter()
        for at in range(0, 64 << 20, 1 << 20):
            b[at:at + (1 << 20)] = a[at:at + (1 << 20)]
        rounds.append((64 << 20) / (time.perf_counter() - start))
    return sorted(rounds)[4]
