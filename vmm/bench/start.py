"""How long a guest takes to start: from the start of the process to its first instruction, and to its end; how much
memory a VM takes beside its RAM; and the parts of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from ..errors import UserError
from ..paths import BUILD
from ..sync.signals import temporary_folder
from . import measure, native
from .rows import spread

GUEST = BUILD / "first.elf"     # says "1" first of all
IMAGE_BYTES = 16 << 20
SIZES = (256 << 20, 1 << 30)
AT_ONCE = 10
RAM_PIECE = 128 << 20           # bytes: no mapping of RAM is smaller, none of anything else is larger
TIMEOUT_S = 60                  # for hangs
TOP_IMPORTS = 10


@dataclass(frozen=True)
class Case:
    """One way to start: the modes of ours, or QEMU; `number` of them at once."""

    mode: str
    memory: int
    number: int = 1


@dataclass
class Taken:
    """What the repetitions of a case took: each one guest's, or the mean of those at once."""

    first_ns: list[float] = field(default_factory=list)
    end_ns: list[float] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)
    beside_ram: list[int] = field(default_factory=list)         # bytes
    parts_ns: dict[str, list[int]] = field(default_factory=dict)


def splitvmm() -> list[str]:
    """The command as it is installed beside this Python, or as a module where it is not."""
    installed = Path(sys.executable).with_name("splitvmm")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "vmm"]


def command(case: Case, image: Path, cmdline: str = "x", *more: str) -> list[str]:
    """What starts the guest with one disk, its serial port on standard output."""
    if case.mode == "qemu":
        return measure.qemu_microvm(
            "acpi=off,ioapic2=off,rtc=off", "qemu64,-sse3", case.memory, GUEST, cmdline, "stdio",
            "-global", "virtio-mmio.force-legacy=false",
            "-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image},file.locking=off",
            "-device", "virtio-blk-device,drive=disk", "-device", "isa-debug-exit,iobase=0x501,iosize=4")
    return [*splitvmm(), "run", str(GUEST), "--append", cmdline, "--mem", f"{case.memory >> 20}M", "--serial", "stdout",
            "--disk", f"{image},readonly=on,offload={case.mode}", *more]


class Guest:
    """A guest that starts; `first_ns` and `end_ns` since the start of its process.  One that is `tied` is killed with
    this thread, should that not come to close it."""

    def __init__(self, words: list[str], tied: bool = False):
        self.words = words
        tie = partial(native.binding()[1].end_with_parent, os.getpid()) if tied else None
        self._began = time.monotonic_ns()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=tie)     # noqa: PLW1509 - one system call, of C

    @property
    def began_ns(self) -> int:
        """By CLOCK_MONOTONIC."""
        return self._began

    def wait_first(self) -> int:
        """Until the guest's first word.  Raises UserError if there is none."""
        if os.read(self.process.stdout.fileno(), 1) != b"1":
            self.process.kill()
            said = self.process.communicate()[1].decode(errors="replace")[-300:]
            raise UserError(f"{self.words[0]}: the guest did not start; it said {said!r}")
        return time.monotonic_ns() - self._began

    def wait_end(self) -> tuple[int, int]:
        """How long it took, and the CPU time of all of it, in ns."""
        _, _, used = os.wait4(self.process.pid, 0)
        took = time.monotonic_ns() - self._began
        self.process.returncode = 0     # it has been waited for
        self.close()
        return took, round((used.ru_utime + used.ru_stime) * 1e9)

    def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def started(words: list[str]) -> Iterator[Guest]:
    guest = Guest(words)
    try:
        yield guest
    finally:
        guest.close()


def rows(modes: list[str], peers: list[str], repeat: int, quick: bool, machine: dict, progress: Callable) -> list[dict]:
    """Two rows a case: to the first instruction, and to the end."""
    if peers:
        measure.require_qemu()
    cases = [Case(mode, size) for size in SIZES[:1 if quick else None] for mode in [*modes, *peers]]
    if not quick:
        cases += [Case(mode, SIZES[0], AT_ONCE) for mode in [*modes, *peers]]
    taken = {case: Taken() for case in cases}
    with temporary_folder("splitvmm-bench-") as directory, progress() as shown:
        image = Path(directory) / "disk"
        image.write_bytes(bytes(IMAGE_BYTES))
        task = shown.add_task("start", total=repeat * len(cases))
        for case in cases:                  # once for the files' sake, which are read from the disk then
            _run(case, image, Taken())
        for _ in range(repeat):
            for case in cases:
                shown.update(task, description=f"start {case.mode} {case.memory >> 20} MiB x{case.number}")
                _run(case, image, taken[case])
                shown.advance(task)
        machine["imports_us"] = imports(image, modes[-1])
    return [_row(op, case, taken[case]) for op in ("first", "end") for case in cases]


def _run(case: Case, image: Path, taken: Taken) -> None:
    """One repetition."""
    guests = [Guest(command(case, image)) for _ in range(case.number)]
    try:
        first = [guest.wait_first() for guest in guests]
        ends = [guest.wait_end() for guest in guests]
    finally:
        for guest in guests:
            guest.close()
    taken.first_ns.append(sum(first) / case.number)
    taken.end_ns.append(sum(end for end, _ in ends) / case.number)
    taken.cpu_ns.append(sum(cpu for _, cpu in ends) / case.number)
    if case.number == 1:
        with started(command(case, image, "wait")) as guest:
            guest.wait_first()
            taken.beside_ram.append(beside_ram(guest.process.pid, case.memory, image))
        if case.mode != "qemu":
            _take_parts(case, image, taken)


def _take_parts(case: Case, image: Path, taken: Taken) -> None:
    """Parts of the start, in one more run that tells of them: how long each took, those of one name together."""
    stats = image.with_name("stats")
    with started(command(case, image, "x", f"--stats=json,file={stats}")) as guest:
        guest.wait_first()
        guest.wait_end()
        told = json.loads(stats.read_text())["started"]
        began = min((part["begin_ns"] for part in told), default=guest.began_ns)
        found: dict[str, int] = {"Python and the command line": began - guest.began_ns}
        for part in told:
            found[part["part"]] = found.get(part["part"], 0) + part["end_ns"] - part["begin_ns"]
    for name, took in found.items():
        taken.parts_ns.setdefault(name, []).append(took)


def beside_ram(pid: int, memory: int, image: Path) -> int:
    """Proportional set size of a VM's process less that of its guest's RAM, in bytes: mappings that are large enough to
    be of it are left out, and so is the disk's image, which is the page cache's."""
    return proportional_bytes(pid, lambda size, of: size < min(memory, RAM_PIECE) and not of.endswith(str(image)))


def proportional_bytes(pid: int, counts: Callable[[int, str], bool]) -> int:
    """Proportional set size of a process's mappings that count (proc_pid_smaps(5)): by their size in bytes, and the
    line that tells of them, which ends in what they are of."""
    total, counted = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *words = line.split()
        if "-" in name and not name.endswith(":"):
            low, high = (int(end, 16) for end in name.split("-"))
            counted = counts(high - low, line)
        elif name == "Pss:" and counted:
            total += int(words[0]) << 10
    return total


def imports(image: Path, mode: str) -> list[tuple[str, int]]:
    """The modules that take longest to import, without what they import themselves, in us (-X importtime); the least
    of three runs."""
    least: dict[str, int] = {}
    words = command(Case(mode, SIZES[0]), image)[len(splitvmm()):]
    for _ in range(3):
        done = subprocess.run([sys.executable, "-X", "importtime", "-m", "vmm", *words], capture_output=True, text=True,
                              timeout=TIMEOUT_S)
        for line in done.stderr.splitlines():
            own, *_, name = line.removeprefix("import time:").split("|")
            if own.strip().isdigit():
                least[name.strip()] = min(int(own), least.get(name.strip(), int(own)))
    top = sorted(least.items(), key=lambda item: -item[1])[:TOP_IMPORTS]
    return [(f"all {len(least)}", sum(least.values())), *top]


def _row(op: str, case: Case, taken: Taken) -> dict:
    each = taken.first_ns if op == "first" else taken.end_ns
    cpu = round(median(taken.cpu_ns), 1)
    return {"bench": "start", "mode": case.mode, "op": op, "pattern": None, "bytes": case.memory, "depth": case.number,
            "wait": "poll", "ring": 0, "requests": 1, **spread(each), "floor_ns": 0.0, "cpu_ns_per_request": cpu,
            "cpu_vcpu_ns": 0.0, "cpu_ring_ns": 0.0, "exits_to_user": 0, "handled": 0, "declined": 0, "why": "",
            "beside_ram_bytes": median(taken.beside_ram) if taken.beside_ram else None,
            "parts_ns": {name: round(median(took)) for name, took in taken.parts_ns.items()} if op == "first" else {}}
