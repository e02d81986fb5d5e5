"""Block requests: what a guest's disk takes for them, in each mode."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from statistics import median

from . import measure, storage, tail
from .disk_runs import QEMU_MODES, run_once, said
from .measure import Sample
from .rows import QUICK_BLK, UNROLLED, VCPU_BLK, BlkCase, Wanted, blk_cases, spread
from .storage import Storage
from .vcpus import rates

BASE_BATCHES = UNROLLED        # of the run that everything but the loop is taken from


@dataclass(frozen=True)
class Taken:
    """One repetition of a case in a mode: what a loop of so many batches and requests took, by the guest's clock and by
    ours; a short loop, which ours are to be less; single batches in ns; and what each vCPU did in a second."""

    batches: int
    requests: int
    ns: float
    floor_ns: float | None
    sample: Sample
    base: Sample
    base_requests: int
    times: Counter[float] = field(default_factory=Counter)
    each: tuple[float, ...] = ()

    def beyond(self, name: str) -> float:
        """For a request of the loop alone."""
        return (getattr(self.sample, name) - getattr(self.base, name)) / max(1, self.requests - self.base_requests)


def rows(wanted: Wanted, machine: dict, progress) -> list[dict]:
    """Measure every case in every mode, and on all storages that were asked for, interleaved."""
    cases = _cases(wanted)
    modes = [*wanted.modes]
    if wanted.peers:
        measure.require_qemu()
        modes += QEMU_MODES
    with storage.prepared(list(wanted.storages), wanted.directory) as images:
        return _measured(cases, list(product(images, modes)), wanted, machine, progress)


def _cases(wanted: Wanted) -> list[BlkCase]:
    if wanted.vcpus:
        return [replace(case, vcpus=number) for case in VCPU_BLK for number in wanted.vcpus]
    return list(QUICK_BLK) if wanted.quick or wanted.storages else blk_cases()


def _measured(cases: list[BlkCase], ways: list[tuple[Storage, str]], wanted: Wanted, machine: dict,
              progress) -> list[dict]:
    """Of each case all ways, and of all of them one repetition after the other."""
    found = []
    with progress() as bar:
        task = bar.add_task("blk", total=len(cases) * wanted.repeat * len(ways))
        for case in cases:
            taken: dict[tuple[Storage, str], list[Taken]] = {way: [] for way in ways}
            for _ in range(wanted.repeat):
                for way, before in taken.items():
                    bar.update(task, description=f"blk {case.op} {case.bytes} depth {case.depth} {way[1]}")
                    before.append(_repetition(*way, case, before, wanted.quick, machine["tsc_khz"]))
                    bar.advance(task)
            floors = {way: [one.floor_ns for one in each if one.floor_ns] for way, each in taken.items()}
            every = [ns for each in floors.values() for ns in each] or [0.0]     # for QEMU, which has none
            found += [_row(case, *way, each, median(floors[way] or every)) for way, each in taken.items()]
    return found


def _loop_ms(quick: bool) -> int:
    return 100 if quick else 300


def _batches(base_ticks: int, quick: bool, tsc_khz: int) -> int:
    """Doorbells that make a loop of so long, by what a short run took."""
    wanted = _loop_ms(quick) * tsc_khz * BASE_BATCHES // max(1, base_ticks)
    return max(2, min(wanted // UNROLLED, 2048)) * UNROLLED


def _repetition(on: Storage, mode: str, case: BlkCase, before: list[Taken], quick: bool, tsc_khz: int) -> Taken:
    """As long a loop as in those before."""
    if case.vcpus:
        return _repetition_of_vcpus(on, mode, case, quick, tsc_khz)
    base = _counted(*run_once(mode, on, case, batches=BASE_BATCHES))
    batches = before[0].batches if before else _batches(base.ticks, quick, tsc_khz)
    sample = _counted(*run_once(mode, on, case, batches=batches))
    requests = batches * case.depth
    ns, floor_ns = (ticks / requests * 1e6 / tsc_khz for ticks in (sample.ticks, sample.floor_ticks))
    stamps = tail.how_many(50 if quick else 200, ns * case.depth)
    text = said(mode, on, case, batches=BASE_BATCHES, stamps=stamps)
    return Taken(batches, requests, ns, floor_ns or None, sample, base, BASE_BATCHES * case.depth,
                 tail.stamped(text, tsc_khz))


def _counted(sample: Sample, text: str) -> Sample:
    return replace(sample, **measure.counted(text))


def _repetition_of_vcpus(on: Storage, mode: str, case: BlkCase, quick: bool, tsc_khz: int) -> Taken:
    """Of so much time, and of next to none."""
    base, text = run_once(mode, on, case, ticks=0)
    short = rates(text, tsc_khz)
    sample, text = run_once(mode, on, case, ticks=_loop_ms(quick) * tsc_khz)
    found = rates(text, tsc_khz)
    batches = found.requests // case.depth
    sample = replace(sample, doorbells=batches, interrupts=0)       # it always rings, and polls
    return Taken(batches, found.requests, found.ns, found.floor_ns, sample, base, short.requests, each=found.each)


def _row(case: BlkCase, on: Storage, mode: str, taken: list[Taken], floor: float) -> dict:
    """Time is the guest's own; the rest is of a whole run, less that of a short one."""
    last = taken[-1]
    cpu, vcpu, ring = (median(one.beyond(part) for one in taken) for part in ("cpu_ns", "vcpu_ns", "ring_ns"))
    several = {"host_cpus": len(os.sched_getaffinity(0)), "each_per_s": [
        round(median(one.each[number] for one in taken), 1) for number in range(case.vcpus)]} if case.vcpus else {}
    return {"bench": "blk", "mode": mode, **asdict(case), "storage": on.name, "requests": last.requests,
            "why": last.sample.why, **spread([one.ns for one in taken]),
            **tail.percentiles(sum((one.times for one in taken), Counter())), "floor_ns": round(floor, 1),
            "cpu_ns_per_request": round(cpu, 1), "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": round(ring, 1),
            **{name: round(last.beyond(field) * last.requests) for name, field in (
                ("exits_to_user", "exits"), ("handled", "handled"), ("declined", "declined"))},
            "doorbells": last.sample.doorbells, "interrupts": last.sample.interrupts, **several}
