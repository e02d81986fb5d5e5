"""Block requests: what a guest's disk takes for them, in each mode."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from ..sync.signals import temporary_folder
from . import measure, tail
from .measure import Sample
from .rows import ALWAYS, QUICK_BLK, UNROLLED, BlkCase, blk_cases, spread

IMAGE_BYTES = 64 << 20
BASE_BATCHES = UNROLLED        # of the run that everything but the loop is taken from


@dataclass(frozen=True)
class Taken:
    """One repetition of a case in a mode: a loop of so many batches, a short one, and single batches in ns."""

    batches: int
    sample: Sample
    base: Sample
    times: Counter[float]


def rows(modes: list[str], peers: list[str], repeat: int, quick: bool, machine: dict, progress,
         where: Path | None = None) -> list[dict]:
    """Measure every case in every mode, interleaved; `where` is the folder of the image."""
    cases = list(QUICK_BLK) if quick else blk_cases()
    modes = [*modes]
    if peers:
        measure.require_qemu()
        modes += ["qemu-threads", "qemu-io_uring"]
    with temporary_folder("splitvmm-bench-", where) as directory:
        image = Path(directory) / "disk"
        image.write_bytes(os.urandom(IMAGE_BYTES))     # and so in the page cache
        return _measured(cases, modes, repeat, quick, machine, progress, image)


def _once(mode: str, image: Path, case: BlkCase, batches: int) -> Sample:
    """A driver that need not ring has no floor: that is a loop around a doorbell."""
    cmdline = case.cmdline(batches)
    if mode.startswith("qemu-"):
        return measure.run_qemu(mode[5:], image, cmdline)
    return measure.run_blk(mode, image, cmdline, case.notify == ALWAYS)


def _batches(base: Sample, quick: bool, machine: dict) -> int:
    """Doorbells that make a loop of some tenths of a second, by what a short run took."""
    target_ms = 100 if quick else 300
    wanted = target_ms * machine["tsc_khz"] * BASE_BATCHES // max(1, base.ticks)
    return max(2, min(wanted // UNROLLED, 2048)) * UNROLLED


def _measured(cases, modes, repeat, quick, machine, progress, image) -> list[dict]:
    found = []
    with progress() as bar:
        task = bar.add_task("blk", total=len(cases) * repeat * len(modes))
        for case in cases:
            taken: dict[str, list[Taken]] = {mode: [] for mode in modes}
            for _ in range(repeat):
                for mode in modes:
                    bar.update(task, description=f"blk {case.op} {case.bytes} depth {case.depth} {mode}")
                    batches = taken[mode][0].batches if taken[mode] else None
                    taken[mode].append(_repetition(mode, image, case, batches, quick, machine))
                    bar.advance(task)
            floors = {mode: [_ns(case, one.batches, one.sample.floor_ticks, machine) for one in samples
                             if one.sample.floor_ticks] for mode, samples in taken.items()}
            every = [ns for each in floors.values() for ns in each] or [0.0]     # for QEMU, which has none
            found += [_row(case, mode, taken[mode], median(floors[mode] or every), machine) for mode in modes]
    return found


def _repetition(mode: str, image: Path, case: BlkCase, batches: int | None, quick: bool, machine: dict) -> Taken:
    base = _once(mode, image, case, BASE_BATCHES)
    batches = batches or _batches(base, quick, machine)
    sample = _once(mode, image, case, batches)
    stamps = tail.how_many(50 if quick else 200, _ns(case, batches, sample.ticks, machine) * case.depth)
    text = measure.said_of_blk(mode, image, f"{case.cmdline(BASE_BATCHES)} stamps={stamps}")
    return Taken(batches, sample, base, tail.stamped(text, machine["tsc_khz"]))


def _ns(case: BlkCase, batches: int, ticks: int, machine: dict) -> float:
    return ticks / (batches * case.depth) * 1e6 / machine["tsc_khz"]


def _row(case: BlkCase, mode: str, taken: list[Taken], floor: float, machine: dict) -> dict:
    """Time is the guest's own; the rest is of a whole run, less that of a short one."""
    last, base = taken[-1].sample, taken[-1].base
    requests, extra = (batches * case.depth for batches in (taken[-1].batches, taken[-1].batches - BASE_BATCHES))
    cpu, vcpu, ring = (median((getattr(one.sample, part) - getattr(one.base, part)) / extra for one in taken)
                       for part in ("cpu_ns", "vcpu_ns", "ring_ns"))
    return {"bench": "blk", "mode": mode, **asdict(case), "requests": requests, "why": last.why,
            **spread([_ns(case, one.batches, one.sample.ticks, machine) for one in taken]),
            **tail.percentiles(sum((one.times for one in taken), Counter())), "floor_ns": round(floor, 1),
            "cpu_ns_per_request": round(cpu, 1), "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": round(ring, 1),
            **{name: round((getattr(last, field) - getattr(base, field)) * requests / extra)
               for name, field in (("exits_to_user", "exits"), ("handled", "handled"), ("declined", "declined"))},
            "doorbells": last.doorbells, "interrupts": last.interrupts}
