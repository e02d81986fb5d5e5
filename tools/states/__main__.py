"""Generated states of a vCPU, there and back.

    python -m tools.states [--count N] [--seconds N] [--seed N] [--mode MODE,...] [--trip TRIP,...] [--json FILE]

So many states in each mode on each trip, or as many as there is time for: `kvm` from one vCPU of KVM's to another,
`both` from KVM to the emulator and back, `emulator` there and back without KVM.  The exit status is 1 if one differs
then, or is refused where others of its mode are not.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmm.executors.generated import MODES

from ..arguments import listed
from .campaign import Campaign, Found
from .trips import TRIPS

AMD_BITS, INTEL_BITS = 32, 64       # of SYSENTER's addresses


def sysenter_bits() -> int:
    return AMD_BITS if "AuthenticAMD" in Path("/proc/cpuinfo").read_text() else INTEL_BITS


def run(trip: str, mode: str, seed: int, count: int, seconds: float) -> Found:
    with closing(TRIPS[trip]()) as made:
        return Campaign(made, mode, seed, sysenter_bits()).run(count, seconds)


def wrong(found: Found) -> bool:
    return bool(found.differences or (found.refused and found.states))


def show(rows: list[tuple[str, str, Found]]) -> None:
    table = Table("trip", "mode", "states", "differences", "refused", "s")
    for trip, mode, found in rows:
        table.add_row(trip, mode, f"{found.states:,}", f"{found.differences:,}", f"{found.refused:,}",
                      f"{found.seconds:.0f}")
    Console(width=140).print(table)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.states")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", default=",".join(MODES))
    parser.add_argument("--trip", default=",".join(TRIPS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    modes, trips, rows = listed(given.mode, list(MODES), parser), listed(given.trip, list(TRIPS), parser), []
    for trip in trips:
        for mode in modes:
            found = run(trip, mode, given.seed, given.count, given.seconds)
            rows.append((trip, mode, found))
            for example in found.examples:
                print(f"{trip}: {mode}: {example}", file=sys.stderr)
            if given.json:
                given.json.write_text(json.dumps([{"trip": trip, "mode": mode, **asdict(found)}
                                                  for trip, mode, found in rows], indent=1) + "\n")
    show(rows)
    return int(any(wrong(found) for _, _, found in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
