"""Block requests: what a guest's disk takes for them, in each mode."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median

from . import measure, storage, tail
from .disk_runs import run_once, said
from .measure import Sample
from .rows import ALWAYS, QUICK_BLK, UNROLLED, BlkCase, Wanted, blk_cases, spread
from .storage import Storage

BASE_BATCHES = UNROLLED        # of the run that everything but the loop is taken from


@dataclass(frozen=True)
class Taken:
    """One repetition of a case in a mode: a loop of so many batches, a short one, and single batches in ns."""

    batches: int
    sample: Sample
    base: Sample
    times: Counter[float]


def rows(wanted: Wanted, machine: dict, progress) -> list[dict]:
    """Measure every case in every mode, and on all storages that were asked for, interleaved."""
    cases = list(QUICK_BLK) if wanted.quick or wanted.storages else blk_cases()
    modes = [*wanted.modes]
    if wanted.peers:
        measure.require_qemu()
        modes += ["qemu-threads", "qemu-io_uring"]
    with storage.prepared(list(wanted.storages), wanted.directory) as images:
        return _measured(cases, list(product(images, modes)), wanted, machine, progress)


def _batches(base: Sample, quick: bool, machine: dict) -> int:
    """Doorbells that make a loop of some tenths of a second, by what a short run took."""
    target_ms = 100 if quick else 300
    wanted = target_ms * machine["tsc_khz"] * BASE_BATCHES // max(1, base.ticks)
    return max(2, min(wanted // UNROLLED, 2048)) * UNROLLED


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
                    batches = before[0].batches if before else None
                    before.append(_repetition(*way, case, batches, wanted.quick, machine))
                    bar.advance(task)
            floors = {way: [_ns(case, one.batches, one.sample.floor_ticks, machine) for one in each
                            if one.sample.floor_ticks] for way, each in taken.items()}
            every = [ns for each in floors.values() for ns in each] or [0.0]     # for QEMU, which has none
            found += [_row(case, *way, each, median(floors[way] or every), machine) for way, each in taken.items()]
    return found


def _repetition(on: Storage, mode: str, case: BlkCase, batches: int | None, quick: bool, machine: dict) -> Taken:
    floor = case.notify == ALWAYS       # is a loop around a doorbell, which another driver need not ring
    base = run_once(mode, on, case.cmdline(BASE_BATCHES), floor)
    batches = batches or _batches(base, quick, machine)
    sample = run_once(mode, on, case.cmdline(batches), floor)
    stamps = tail.how_many(50 if quick else 200, _ns(case, batches, sample.ticks, machine) * case.depth)
    text = said(mode, on, f"{case.cmdline(BASE_BATCHES)} stamps={stamps}")
    return Taken(batches, sample, base, tail.stamped(text, machine["tsc_khz"]))


def _ns(case: BlkCase, batches: int, ticks: int, machine: dict) -> float:
    return ticks / (batches * case.depth) * 1e6 / machine["tsc_khz"]


def _row(case: BlkCase, on: Storage, mode: str, taken: list[Taken], floor: float, machine: dict) -> dict:
    """Time is the guest's own; the rest is of a whole run, less that of a short one."""
    last, base = taken[-1].sample, taken[-1].base
    requests, extra = (batches * case.depth for batches in (taken[-1].batches, taken[-1].batches - BASE_BATCHES))
    cpu, vcpu, ring = (median((getattr(one.sample, part) - getattr(one.base, part)) / extra for one in taken)
                       for part in ("cpu_ns", "vcpu_ns", "ring_ns"))
    return {"bench": "blk", "mode": mode, **asdict(case), "storage": on.name, "requests": requests, "why": last.why,
            **spread([_ns(case, one.batches, one.sample.ticks, machine) for one in taken]),
            **tail.percentiles(sum((one.times for one in taken), Counter())), "floor_ns": round(floor, 1),
            "cpu_ns_per_request": round(cpu, 1), "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": round(ring, 1),
            **{name: round((getattr(last, field) - getattr(base, field)) * requests / extra)
               for name, field in (("exits_to_user", "exits"), ("handled", "handled"), ("declined", "declined"))},
            "doorbells": last.doorbells, "interrupts": last.interrupts}
