"""What VMs of a host cost each other, as all of them share one exit path: doorbells, messages and reads of one VM
beside idle ones, its memory and its start; exits of a VM that is not ours; and an honest VM's reads beside a hostile
one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median

from . import hostile, measure, tail
from .hostile import Beside
from .measure import Sample
from .neighbours import IDLE_BYTES, Neighbours
from .rows import EXIT_CASES, Wanted, spread

IMAGE_BYTES = 16 << 20
COUNT, LOOPS, QUICK_LOOPS = 1000, 20, 2     # doorbells of a loop, which is shorter than a slice; loops of a run
CLAIMED, HANDLED, DECLINED = (next(case for case in EXIT_CASES if case.op == op)
                              for op in ("claimed", "handled", "declined"))
FOREIGN, START, READ = "foreign", "start", "read"
# operation -> one run of a VM of ours, of COUNT doorbells in each of so many loops; its disk, if any, has the image
DOORBELLS: dict[str, Callable[[int, int, Path], Sample]] = {
    "claimed": lambda count, loops, _: measure.run_exits(replace(CLAIMED, mode="on"), count, loops),
    "handled": lambda count, loops, _: measure.run_exits(HANDLED, count, loops),
    "declined": lambda count, loops, _: measure.run_exits(DECLINED, count, loops),
    "message": measure.run_message}
Progress = Callable[[], AbstractContextManager]
Place = tuple[str, int]     # an operation, and how many VMs of ours there are


@dataclass
class Taken:
    """What the repetitions of one operation took; `waited_ns` is all reads' together, memory in bytes and as
    Neighbours.memory() has it."""

    ns: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    waited_ns: int = 0
    times: Counter[float] = field(default_factory=Counter)
    memory: list[tuple[int, int]] = field(default_factory=list)


class Bench:
    """One run; `step` is called as each measurement begins and with what it is."""

    def __init__(self, wanted: Wanted, tsc_khz: int, image: Path, step: Callable[[str], None]):
        self.wanted, self._khz, self._image, self._step = wanted, tsc_khz, image, step
        self.loops = QUICK_LOOPS if wanted.quick else LOOPS
        self.taken: dict[Place, Taken] = {}
        self.attacked: dict[Beside, Taken] = {}

    def repetition(self) -> None:
        """All numbers of VMs, rising: those that are there stay for the next; then the hostile ones."""
        with Neighbours(self._image) as idle:
            self._foreign(0)
            for vms in sorted(self.wanted.vms):
                idle.grow_to(vms - 1)
                self._ours(vms)
                self._step(f"start, {vms} VMs")
                started = self._of(START, vms)
                started.ns.append(idle.add())
                started.memory.append(idle.memory())
                self._foreign(vms)
        for beside in hostile.besides():
            self._step(f"read, {beside.who}, {beside.cpus}")
            self._read(self.attacked.setdefault(beside, Taken()), beside)

    def _of(self, op: str, vms: int) -> Taken:
        return self.taken.setdefault((op, vms), Taken())

    def _ours(self, vms: int) -> None:
        for op, loop in DOORBELLS.items():
            self._step(f"{op}, {vms} VMs")
            self._keep(self._of(op, vms), loop(COUNT, self.loops, self._image))
        self._step(f"{READ}, {vms} VMs")
        self._read(self._of(READ, vms))

    def _foreign(self, vms: int) -> None:
        """A doorbell of a VM without offload; `vms` of ours are there."""
        self._step(f"{FOREIGN}, {vms} VMs")
        self._keep(self._of(FOREIGN, vms), measure.run_exits(CLAIMED, COUNT, self.loops))

    def _keep(self, taken: Taken, sample: Sample) -> None:
        taken.ns.append(sample.ticks / COUNT * 1e6 / self._khz)
        taken.samples.append(sample)

    def _read(self, taken: Taken, beside: Beside | None = None) -> None:
        """Beside a hostile VM a read's time is the mean, which has all that it takes away; beside idle ones the
        median."""
        reads = hostile.read_beside(beside, self._image, self.wanted.quick)
        times = tail.stamped(reads.text, self._khz)
        taken.ns.append(tail.mean(times) if beside else tail.median(times))
        taken.samples.append(reads.sample)
        taken.waited_ns += reads.waited_ns
        taken.times += times


def rows(wanted: Wanted, machine: dict, progress: Progress) -> list[dict]:
    """Of each operation a row for each number of VMs, then those beside hostile ones."""
    with _image() as image, _shown(progress, wanted) as step:
        bench = Bench(wanted, machine["tsc_khz"], image, step)
        for _ in range(wanted.repeat):
            bench.repetition()
    floor = median(bench.taken[FOREIGN, 0].ns)
    order = [*DOORBELLS, READ, FOREIGN, START]
    places = sorted(bench.taken.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return [*(_row(*place, taken, bench.loops * COUNT, floor) for place, taken in places),
            *(_attacked_row(beside, taken) for beside, taken in bench.attacked.items())]


@contextmanager
def _image() -> Iterator[Path]:
    """A disk's, of all VMs: memory without a name, which is gone when this process is, however it ends."""
    fd = os.memfd_create("splitvmm-bench")
    try:
        os.write(fd, bytes(IMAGE_BYTES))
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


@contextmanager
def _shown(progress: Progress, wanted: Wanted) -> Iterator[Callable[[str], None]]:
    """What tells of each step as it begins."""
    steps = 1 + len(wanted.vms) * (len(DOORBELLS) + 3) + len(hostile.besides())
    with progress() as shown:
        task = shown.add_task("host", total=wanted.repeat * steps)

        def step(what: str) -> None:
            shown.update(task, description=f"host {what}")
            shown.advance(task)
        yield step


def _row(op: str, vms: int, taken: Taken, count: int, floor: float) -> dict:
    if op == START:
        own, kernel = (round(median(each)) for each in zip(*taken.memory))
        return _common(op, taken, 1, bytes=IDLE_BYTES, vms=vms, own_bytes=own, kernel_bytes=kernel)
    if op == READ:
        return _read_row(taken, vms=vms)
    return _common(op, taken, count, "off" if op == FOREIGN else "on", vms=vms, floor_ns=round(floor, 1))


def _attacked_row(beside: Beside, taken: Taken) -> dict:
    return _read_row(taken, vms=2 if beside.who != hostile.NOBODY else 1, beside=beside.who, placed=beside.cpus)


def _read_row(taken: Taken, **more) -> dict:
    requests = taken.times.total()
    return _common(READ, taken, requests // len(taken.ns), pattern="random", bytes=hostile.READ_BYTES,
                   ring=hostile.READ_RING, waited_ns=round(taken.waited_ns / requests, 1), **more,
                   **tail.percentiles(taken.times))


def _common(op: str, taken: Taken, requests: int, mode: str = "on", **more) -> dict:
    """What all rows have; counts are the last repetition's."""
    cpu = mean(sample.cpu_ns for sample in taken.samples) / requests if taken.samples else 0.0
    vcpu = mean(sample.vcpu_ns for sample in taken.samples) / requests if taken.samples else 0.0
    last = taken.samples[-1] if taken.samples else Sample(0)
    return {"bench": "host", "mode": mode, "op": op, "pattern": None, "bytes": 4, "depth": 1, "wait": "poll", "ring": 0,
            "requests": requests, **spread(taken.ns), "floor_ns": 0.0, "cpu_ns_per_request": round(cpu, 1),
            "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": 0.0, "exits_to_user": last.exits, "handled": last.handled,
            "declined": last.declined, "why": last.why, **more}
