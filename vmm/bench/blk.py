"""Block requests: what a guest's disk takes for them, in each mode."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from statistics import median

from ..sync.signals import temporary_folder
from . import measure
from .measure import Sample
from .rows import ALWAYS, QUICK_BLK, UNROLLED, BlkCase, blk_cases, spread

IMAGE_BYTES = 64 << 20
BASE_BATCHES = UNROLLED        # of the run that everything but the loop is taken from


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
            taken = {mode: [] for mode in modes}
            for _ in range(repeat):
                for mode in taken:
                    bar.update(task, description=f"blk {case.op} {case.bytes} depth {case.depth} {mode}")
                    base = _once(mode, image, case, BASE_BATCHES)
                    batches = taken[mode][0][0] if taken[mode] else _batches(base, quick, machine)
                    taken[mode].append((batches, _once(mode, image, case, batches), base))
                    bar.advance(task)
            floors = {mode: [s.floor_ticks / n / case.depth * 1e6 / machine["tsc_khz"] for n, s, _ in samples
                             if s.floor_ticks] for mode, samples in taken.items()}
            every = [ns for each in floors.values() for ns in each] or [0.0]     # for QEMU, which has none
            found += [_row(case, mode, taken[mode], median(floors[mode] or every), machine) for mode in modes]
    return found


def _ns(case: BlkCase, batches: int, sample: Sample, machine: dict) -> float:
    return sample.ticks / (batches * case.depth) * 1e6 / machine["tsc_khz"]


def _row(case: BlkCase, mode: str, taken, floor: float, machine: dict) -> dict:
    """Time is the guest's own; the rest is of a whole run, less that of a short one."""
    batches, last, base = taken[-1]
    requests, extra = batches * case.depth, (batches - BASE_BATCHES) * case.depth
    cpu, vcpu, ring = (median((getattr(s, part) - getattr(b, part)) / extra for _, s, b in taken)
                       for part in ("cpu_ns", "vcpu_ns", "ring_ns"))
    return {"bench": "blk", "mode": mode, **asdict(case), "requests": requests, "why": last.why,
            **spread([_ns(case, n, s, machine) for n, s, _ in taken]), "floor_ns": round(floor, 1),
            "cpu_ns_per_request": round(cpu, 1), "cpu_vcpu_ns": round(vcpu, 1), "cpu_ring_ns": round(ring, 1),
            **{name: round((getattr(last, field) - getattr(base, field)) * requests / extra)
               for name, field in (("exits_to_user", "exits"), ("handled", "handled"), ("declined", "declined"))},
            "doorbells": last.doorbells, "interrupts": last.interrupts}
