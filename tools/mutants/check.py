"""One check of the halves that this is run with, as a line of JSON: what it found, and in how many steps.

    python -m tools.mutants.check explore BUILD [SCENARIO] SECONDS
    python -m tools.mutants.check verify DEVICE SECONDS
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from tools.explore.scenario import SCENARIOS
from tools.explore.world import Explored
from vmm.verify.lockstep import Lockstep
from vmm.verify.source import Seeded
from vmm.verify.strategies import ours

STEPS = 100         # of a sequence: short ones, as each setting has its turn


def explored(build: Path, seconds: float, name: str = "") -> dict[str, Any]:
    """All scenarios whose names begin so, within their bounds and then within the wider ones, until one ends badly."""
    end, steps = monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(prefix="splitvmm-mutant-") as folder:
        chosen = [each for each in SCENARIOS if each.name.startswith(name)]
        wider = [dataclasses.replace(each, preemptions=each.long[0], delays=each.long[1]) for each in chosen]
        for scenario in [*chosen, *wider]:
            world = Explored(scenario, build, Path(folder) / "image")
            wrong = world.run(end)
            steps += world.counts[2]
            if wrong:
                return {"by": f"explore, {scenario.name}, {scenario.preemptions} preemptions, {scenario.delays} delays",
                        "steps": steps, "what": wrong}
            world.close()
            if monotonic() > end:
                break
    return {"by": "", "steps": steps}


def verified(name: str, seconds: float) -> dict[str, Any]:
    """Sequences on off and host, each setting by turns."""
    strategy, end, steps, seed = ours()[name](), monotonic() + seconds, 0, 1
    while monotonic() < end:
        for setting in strategy.combinations():
            if monotonic() > end:
                break
            source = Seeded(seed)
            seed += 1
            with Lockstep(strategy, ["off", "host"], setting) as lockstep:
                for _ in range(STEPS):
                    difference, steps = lockstep.do(lockstep.next(source)), steps + 1
                    if difference:
                        return {"by": f"verify {name}, {', '.join(setting.values())}", "steps": steps,
                                "what": f"{difference.where} is {difference.found}"[:90]}
    return {"by": "", "steps": steps}


if __name__ == "__main__":
    kind, what, *names, seconds = sys.argv[1:]
    found = explored(Path(what), float(seconds), *names) if kind == "explore" else verified(what, float(seconds))
    print(json.dumps(found), flush=True)
