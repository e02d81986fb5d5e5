"""The benchmarks: modes interleaved in one run, medians with their spread, the floor beside each.

Rows of the JSON file (schema 1) are documented in vmm/bench/README.md.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from . import measure, saved, tables
from .measure import Sample
from .rows import EXIT_CASES, Wanted, spread
from .saved import Saved
from .visits import visits


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
        from . import blk
        return blk.rows(wanted, machine, _progress)
    if wanted.what == "net":
        from . import net
        return net.rows(modes, peers, repeat, quick, machine, _progress)
    if wanted.what == "shadow":
        from . import shadow
        return shadow.rows(modes, repeat, quick, _progress)
    if wanted.what == "start":
        from . import start
        return start.rows(modes, peers, repeat, quick, machine, _progress)
    if wanted.what == "host":
        from . import host
        return host.rows(wanted, machine, _progress)
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
