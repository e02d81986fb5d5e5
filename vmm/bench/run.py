"""The benchmarks: modes interleaved in one run, medians with their spread, the floor beside each.

Rows of the JSON file (schema 1) are documented in vmm/bench/README.md.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from ..sync.signals import temporary_folder
from . import measure, saved, tables
from .measure import Sample
from .rows import ALWAYS, EXIT_CASES, QUICK_BLK, UNROLLED, BlkCase, Wanted, blk_cases, spread
from .saved import Saved
from .visits import visits

IMAGE_BYTES = 64 << 20
BASE_BATCHES = UNROLLED        # of the run that everything but the loop is taken from


def main(wanted: Wanted) -> int:
    """Measure, write the JSON, print the tables, draw the page."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    machine = describe_machine()
    if wanted.one_cpu:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        machine["cpus"] = 1
    rows = _measure(wanted, machine)
    longest = visits(wanted.repeat, wanted.quick) if wanted.what == "exits" and "on" in wanted.modes and \
        not wanted.executors else []
    found = Saved("", machine, rows, longest, began)
    if wanted.json:
        saved.write(found, wanted.json)
    tables.show(wanted.what, machine, rows, longest)
    if wanted.html:
        from . import draw
        draw.write(found, wanted.html)
    return 0


def _measure(wanted: Wanted, machine: dict) -> list[dict]:
    modes, peers, repeat, quick = wanted.modes, wanted.peers, wanted.repeat, wanted.quick
    if wanted.executors:
        from . import executors
        return executors.rows(list(wanted.executors), repeat, quick, machine["tsc_khz"], _progress)
    if wanted.what == "exits":
        return exits(modes, repeat, quick, machine)
    if wanted.what == "blk":
        return blk(modes, peers, repeat, quick, machine, wanted.directory)
    if wanted.what == "net":
        from . import net
        return net.rows(modes, peers, repeat, quick, machine, _progress)
    if wanted.what == "shadow":
        from . import shadow
        return shadow.rows(modes, repeat, quick, _progress)
    if wanted.what == "start":
        from . import start
        return start.rows(modes, peers, repeat, quick, machine, _progress)
    from . import linux
    return linux.rows(modes, peers, repeat, quick, wanted.directory)


def describe_machine() -> dict:
    """What the figures were taken on."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(),
            "tsc_khz": measure.tsc_khz(), "memcpy_bytes_per_s": int(measure.memcpy_bytes_per_s())}


def _progress():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                    TimeRemainingColumn(), console=Console(stderr=True), transient=True)


# exits

def exits(modes: list[str], repeat: int, quick: bool, machine: dict) -> list[dict]:
    count = 3000 if quick else 10_000
    cases = [case for case in EXIT_CASES if case.mode in modes or case.op == "claimed"]
    if any(case.coalesced for case in cases) and (reason := measure.why_not_coalesced()):
        machine["left_out"] = [f"{case.op} is left out: {reason}" for case in cases if case.coalesced]
        cases = [case for case in cases if not case.coalesced]
    samples: dict[str, list[Sample]] = {case.op: [] for case in cases}
    foreign: list[float] = []
    with _progress() as progress:
        task = progress.add_task("exits", total=repeat * (len(cases) + 1))
        for _ in range(repeat):
            for case in cases:
                progress.update(task, description=f"exits {case.op}")
                samples[case.op].append(measure.run_exits(case, count))
                progress.advance(task)
            if "on" in modes:
                alone, beside = (measure.run_foreign(count, attached) for attached in (False, True))
                foreign.append((beside.ticks - alone.ticks) / count * 1e6 / machine["tsc_khz"])
            progress.advance(task)
    if foreign:
        machine["foreign_exit_added_ns"] = round(median(foreign), 1)
    floor = median(s.ticks for s in samples["claimed"]) / count * 1e6 / machine["tsc_khz"]
    rows = []
    for case in cases:
        found = samples[case.op]
        rows.append({"bench": "exits", "mode": case.mode, "op": case.op, "pattern": None, "bytes": 4,
                     "depth": 1, "wait": "poll", "ring": 0, "requests": count,
                     **spread([s.ticks / count * 1e6 / machine["tsc_khz"] for s in found]),
                     "floor_ns": round(floor, 1),
                     "cpu_ns_per_request": round(median(s.cpu_ns for s in found) / count, 1),
                     "cpu_vcpu_ns": round(median(s.vcpu_ns for s in found) / count, 1), "cpu_ring_ns": 0.0,
                     "exits_to_user": found[0].exits, "handled": found[0].handled,
                     "declined": found[0].declined, "why": found[0].why})
    return rows


# blk

def blk(modes: list[str], peers: list[str], repeat: int, quick: bool, machine: dict,
        where: Path | None = None) -> list[dict]:
    cases = list(QUICK_BLK) if quick else blk_cases()
    modes = [*modes]
    if peers:
        measure.require_qemu()
        modes += ["qemu-threads", "qemu-io_uring"]
    with temporary_folder("splitvmm-bench-", where) as directory:
        image = Path(directory) / "disk"
        image.write_bytes(os.urandom(IMAGE_BYTES))     # and so in the page cache
        return _blk_rows(cases, modes, repeat, quick, machine, image)


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


def _blk_rows(cases, modes, repeat, quick, machine, image) -> list[dict]:
    rows = []
    with _progress() as progress:
        task = progress.add_task("blk", total=len(cases) * repeat * len(modes))
        for case in cases:
            taken = {mode: [] for mode in modes}
            for _ in range(repeat):
                for mode in taken:
                    progress.update(task, description=f"blk {case.op} {case.bytes} depth {case.depth} {mode}")
                    base = _once(mode, image, case, BASE_BATCHES)
                    batches = taken[mode][0][0] if taken[mode] else _batches(base, quick, machine)
                    taken[mode].append((batches, _once(mode, image, case, batches), base))
                    progress.advance(task)
            floors = {mode: [s.floor_ticks / n / case.depth * 1e6 / machine["tsc_khz"] for n, s, _ in found
                             if s.floor_ticks] for mode, found in taken.items()}
            every = [ns for found in floors.values() for ns in found] or [0.0]     # for QEMU, which has none
            rows += [_blk_row(case, mode, taken[mode], median(floors[mode] or every), machine) for mode in modes]
    return rows


def _ns(case: BlkCase, batches: int, sample: Sample, machine: dict) -> float:
    return sample.ticks / (batches * case.depth) * 1e6 / machine["tsc_khz"]


def _blk_row(case: BlkCase, mode: str, taken, floor: float, machine: dict) -> dict:
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
