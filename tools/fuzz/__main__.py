"""Fuzz the native handlers.

    python -m tools.fuzz [DEVICE ...] [--runs N] [--seed N]     new inputs, N over all devices
    python -m tools.fuzz DEVICE --replay FILE                   one input, as steps
    python -m tools.fuzz [DEVICE ...] --commit                  what was found becomes the corpus, as few as do

An input that fails is made short, kept in build/fuzz/failed/ and printed as steps.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmm.errors import UserError

from .targets import LONGEST, TARGETS, Target, build

SHORTENING_RUNS = 5000


def fuzz(target: Target, runs: int, seed: int) -> tuple[int, int, int, str]:
    """Inputs run, those in the corpus, edges reached, and what failed, as text."""
    target.unpack()
    failed = target.folder / "failed"
    failed.mkdir(exist_ok=True)
    path = failed / target.name
    path.unlink(missing_ok=True)
    done = target.run(f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST}", "-print_final_stats=1", "-timeout=20",
                      f"-exact_artifact_path={path}", target.found)
    count, corpus = (re.findall(pattern, done.stdout) for pattern in
                     (r"stat::number_of_executed_units: (\d+)", r"cov: (\d+) ft: \d+ corp: (\d+)"))
    if done.returncode:
        why = describe(target, path) if path.exists() else done.stdout
        return int(count[-1]) if count else 0, 0, 0, why
    return int(count[-1]), int(corpus[-1][1]), int(corpus[-1][0]), ""


def describe(target: Target, path: Path) -> str:
    """A failing input, as short as it gets, as steps."""
    short = path.with_suffix(".short")
    short.unlink(missing_ok=True)
    target.run("-minimize_crash=1", f"-runs={SHORTENING_RUNS}", f"-exact_artifact_path={short}", path)
    if short.exists() and not target.steps(short)[0]:
        short.replace(path)
    short.unlink(missing_ok=True)
    return f"{target.steps(path)[1]}\nreplay: python -m tools.fuzz {target.name} --replay {path}"


def fewest(target: Target) -> list[bytes]:
    """Of all inputs that are known, those that it takes to reach what they reach."""
    target.unpack()
    into = target.folder / "merged" / target.name
    into.mkdir(parents=True, exist_ok=True)
    for path in into.iterdir():
        path.unlink()
    done = target.run("-merge=1", "-use_counters=0", f"-max_len={LONGEST}", into, target.found)
    if done.returncode:
        raise UserError(f"{target.name}: -merge=1 failed:\n{done.stdout}")
    return [path.read_bytes() for path in into.iterdir()]


def run_all(targets: list[Target], runs: int, seed: int) -> int:
    """Two at a time on two CPUs, the slowest first."""
    each = max(1, runs // len(targets))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda target: fuzz(target, each, seed), targets))
    table = Table("device", *(name for name in ("inputs", "kept", "edges")), "")
    for target, (count, corpus, edges, why) in zip(targets, results):
        table.add_row(target.name, f"{count:,}", f"{corpus:,}", f"{edges:,}", "FAILED" if why else "")
    Console().print(table)
    for target, (*_, why) in zip(targets, results):
        if why:
            print(f"\n{target.name}\n{why}")
    return int(any(why for *_, why in results))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="Fuzz the native handlers.")
    parser.add_argument("device", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--runs", type=int, default=100000, metavar="N",
                        help="inputs, over all devices (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of what is made up; 0, the default, for another one each time")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, and print its steps")
    parser.add_argument("--commit", action="store_true", help="put what was found into the corpus")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.device if name not in TARGETS]:
        raise UserError(f"{unknown[0]}: no such device; wanted one of {', '.join(TARGETS)}")
    if asked.runs < 1:
        raise UserError(f"--runs: found {asked.runs}; wanted 1 or more")
    targets = [Target(name) for name in asked.device or TARGETS]
    if asked.replay and (len(targets) != 1 or not asked.replay.is_file()):
        raise UserError(f"--replay: found {asked.replay} and {len(targets)} devices; wanted a file, and its device")
    build([target.name for target in targets])
    if asked.replay:
        well, steps = targets[0].steps(asked.replay)
        print(steps)
        return int(not well)
    if asked.commit:
        for target in targets:
            target.commit(fewest(target))
            print(f"{target.committed}: {len(target.inputs())} inputs")
        return 0
    return run_all(targets, asked.runs, asked.seed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"fuzz: {error}")
