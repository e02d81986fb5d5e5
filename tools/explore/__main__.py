"""Explore all scenarios, or those whose names begin with one of the words.

    python -m tools.explore [--long] [--preemptions N] [--delays N] [--build DIR] [--json FILE] [NAME...]

Each is explored through all its schedules of at most so many preemptions, and so many times that a store buffer
begins to fill; the bounds are the scenario's (its wider ones with --long), or those given.  Prints states, schedules
and steps.  The exit status is 1 if a schedule ended badly, which is printed: the first with as few preemptions as it
takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vmm.paths import BUILD

from .scenario import SCENARIOS, Scenario
from .world import Explored

COLUMNS = ("scenario", "preemptions", "delays", "schedules", "states", "steps", "s", "result")


def explored(scenario: Scenario, build: Path, image: Path) -> tuple[dict[str, Any], list[str]]:
    """A row of the table, and what led to what is wrong."""
    began, world = time.monotonic(), Explored(scenario, build, image)
    try:
        wrong = world.run()
        schedules, states, steps = world.counts
        row = {"scenario": scenario.name, "preemptions": scenario.preemptions, "delays": scenario.delays,
               "schedules": schedules, "states": states, "steps": steps,
               "s": round(time.monotonic() - began, 2), "result": wrong or "as it must be"}
        return row, world.events() if wrong else []
    finally:
        world.close()


def simplest(scenario: Scenario, build: Path, image: Path) -> tuple[dict[str, Any], list[str]]:
    """As `explored`; what is wrong is looked for with fewer preemptions and delays, too: it is easiest to understand
    then."""
    row, events = explored(scenario, build, image)
    if events:
        for preemptions in range(scenario.preemptions):
            for delays in range(scenario.delays + 1):
                less = explored(dataclasses.replace(scenario, preemptions=preemptions, delays=delays), build, image)
                if less[1]:
                    return less
    return row, events


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.explore")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--preemptions", type=int)
    parser.add_argument("--delays", type=int)
    parser.add_argument("--build", type=Path, default=BUILD / "explore")
    parser.add_argument("--json", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args(arguments)
    bounds = {name: value for name in ("preemptions", "delays") if (value := getattr(given, name)) is not None}
    chosen = [dataclasses.replace(scenario, **({"preemptions": scenario.long[0], "delays": scenario.long[1]}
                                               if given.long else {}) | bounds) for scenario in SCENARIOS
              if not given.names or scenario.name.startswith(tuple(given.names))]
    if not chosen:
        parser.error(f"{' '.join(given.names)}: no scenario's name begins so; wanted one of "
                     f"{', '.join(scenario.name for scenario in SCENARIOS)}")
    table, rows, wrong = Table(*COLUMNS), [], []
    with tempfile.TemporaryDirectory(prefix="splitvmm-explore-") as folder:
        for scenario in chosen:
            row, events = simplest(scenario, given.build, Path(folder) / "image")
            rows.append(row)
            print(f"{row['scenario']}: {row['result']}, {row['s']} s", file=sys.stderr, flush=True)
            table.add_row(*(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in COLUMNS))
            if events:
                wrong.append(f"{row['scenario']}: {row['result']}\n" + "\n".join(f"  {line}" for line in events))
    Console().print(table)
    print("\n\n".join(wrong))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
