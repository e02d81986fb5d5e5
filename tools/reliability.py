"""RELIABILITY.md: what the checks of the halves were run on, and what they found.

    python -m tools.reliability [--steps N] [--runs N] [--seconds N] [--seed N] [PART...]

Runs the parts that are named (native, verify, explore, models, mutants, fuzz, coverage; all of them without a name),
keeps what each came to in build/reliability/, and writes the page from all that is there.  --steps are those of native,
of each device; of verify, which has BPF as well and is slower for it, a fifth; --runs those of fuzz; --seconds is how
long mutants looks for each fault.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from vmm.paths import ROOT
from vmm.verify.strategies import ours

KEPT = ROOT / "build" / "reliability"
PAGE = ROOT / "RELIABILITY.md"
HEAD = """# What was checked, and what was found

Written by `python -m tools.reliability` from the runs that it made; each part has its command. What the checks do is in
[docs/verify.md](docs/verify.md), [docs/fuzzing.md](docs/fuzzing.md) and [models/README.md](models/README.md).
"""


def _python(module: str, *arguments: object) -> list[str]:
    return ["-m", module, *map(str, arguments)]


def _run(command: list[str]) -> float:
    """Seconds that it took; what it says goes to the terminal.  Its exit status is what it found: kept files tell."""
    began = time.monotonic()
    print("+ python", " ".join(command), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT)
    return time.monotonic() - began


def _played(given: argparse.Namespace, steps: int, executors: str) -> dict[str, Any]:
    devices, workers = {}, len(os.sched_getaffinity(0))
    options = ["--modes", executors, "--steps", steps, "--seed", given.seed, "--transport", "mmio,pci",
               "--workers", workers]
    for name in ours():
        out = KEPT / f"{executors.replace(',', '-')}-{name}.json"
        _run(_python("vmm", "-q", "verify", name, *options, "--json", out,
                     "--save", KEPT / f"{name}.sequence.json"))
        devices[name] = json.loads(out.read_text())["campaigns"]
    return {"command": f"splitvmm verify DEVICE {' '.join(map(str, options))}", "devices": devices}


def native(given: argparse.Namespace) -> dict[str, Any]:
    return _played(given, given.steps, "off,host")


def verify(given: argparse.Namespace) -> dict[str, Any]:
    return _played(given, -(-given.steps // 5), "off,host,on")


def explore(given: argparse.Namespace) -> dict[str, Any]:
    out = KEPT / "explore-rows.json"
    subprocess.run(["make", "-s", "build/explore/blk.so"], cwd=ROOT, check=True)
    _run(_python("tools.explore", "--long", "--json", out))
    return {"command": "make explore", "rows": json.loads(out.read_text())}


def mutants(given: argparse.Namespace) -> dict[str, Any]:
    out = KEPT / "mutants-rows.json"
    _run(_python("tools.mutants", "--seconds", given.seconds, "--json", out))
    return {"command": f"python -m tools.mutants --seconds {given.seconds:g}", "rows": json.loads(out.read_text())}


def models(given: argparse.Namespace) -> dict[str, Any]:
    from tools.model import NONE, read_all, search
    found, faults = read_all()
    rows = []
    for model, fault, wanted in [*((each, "", NONE) for each in found),
                                 *((each.model, each.name, each.violates) for each in faults)]:
        came = search(model, fault)
        rows.append({"model": f"{model.path.stem}, {model.name}", "fault": fault, "states": came.states,
                     "violated": came.violated, "wanted": wanted})
    return {"command": "make model", "rows": rows}


def fuzz(given: argparse.Namespace) -> dict[str, Any]:
    from tools.fuzz.__main__ import fuzz as fuzzed
    from tools.fuzz.targets import TARGETS, Target, build
    build(TARGETS)
    rows = []
    for name in TARGETS:
        inputs, corpus, edges, why = fuzzed(Target(name), given.runs // len(TARGETS), given.seed)
        rows.append({"device": name, "inputs": inputs, "corpus": corpus, "edges": edges, "found": why})
    return {"command": f"make fuzz FUZZ_RUNS={given.runs}", "rows": rows}


def coverage(given: argparse.Namespace) -> dict[str, Any]:
    out = KEPT / "coverage-columns.json"
    subprocess.run(["make", "-s", "coverage-parts"], cwd=ROOT, check=True)
    _run(_python("tools.fuzz.coverage", "--json", out))
    return {"command": "python -m tools.fuzz.coverage", "columns": json.loads(out.read_text())}


def _table(*columns: str) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|---" + "|--:" * (len(columns) - 1) + "|"]


def tell_played(kept: dict[str, Any]) -> Iterator[str]:
    modes = list(next(iter(kept["devices"].values()))[0]["handled"])
    yield (f"Random sequences of guest actions, in lockstep on off and {' and '.join(modes)}, and what differed that "
           "is not free to.")
    yield from ["", *_table("device", "settings", "sequences", "steps", "steps/s", f"done by {', '.join(modes)}",
                            "differences")]
    for name, campaigns in kept["devices"].items():
        steps, seconds = (sum(each[key] for each in campaigns) for key in ("steps", "seconds"))
        handled = [f"{sum(each['handled'].get(mode, 0) for each in campaigns):,}" for mode in modes]
        found = [each["difference"] for each in campaigns if each["difference"]]
        yield (f"| {name} | {len(campaigns)} | {sum(each['sequences'] for each in campaigns):,} | {steps:,} | "
               f"{steps / max(seconds, 1e-9):,.0f} | {', '.join(handled)} | {'; '.join(found) or 0} |")


def tell_explore(kept: dict[str, Any]) -> Iterator[str]:
    rows = kept["rows"]
    yield ("All interleavings of the native handler and the Python half, with at most so many preemptions and store "
           f"buffers that begin to fill: {sum(row['schedules'] for row in rows):,} schedules, "
           f"{sum(row['states'] for row in rows):,} states, {sum(row['steps'] for row in rows):,} steps.")
    yield from ["", *_table("scenario", "preemptions", "delays", "schedules", "states", "result")]
    for row in rows:
        yield (f"| {row['scenario']} | {row['preemptions']} | {row['delays']} | {row['schedules']:,} | "
               f"{row['states']:,} | {row['result']} |")


def tell_models(kept: dict[str, Any]) -> Iterator[str]:
    sound = [row for row in kept["rows"] if not row["fault"]]
    faults = [row for row in kept["rows"] if row["fault"]]
    yield (f"The protocol in Promela: {len(sound)} models, {sum(row['states'] for row in sound):,} states, "
           f"{sum(row['violated'] != '-' for row in sound)} violations. Of {len(faults)} rules left out, "
           f"{sum(row['violated'] != '-' for row in faults)} are found.")
    yield ""
    for row in kept["rows"]:
        if row["violated"] != row["wanted"]:
            yield f"- {row['model']} {row['fault']}: {row['violated']}; wanted {row['wanted']}"
        elif row["fault"] and row["violated"] == "-":
            yield f"- {row['fault']} violates nothing, as is known (models/README.md)"


def tell_mutants(kept: dict[str, Any]) -> Iterator[str]:
    rows = kept["rows"]
    for title, those in (("of the protocol", [row for row in rows if row["protocol"]]), ("in all", rows)):
        found = sum(bool(row["by"]) for row in those)
        yield f"- {title}: {found} of {len(those)} faults found, {100 * found / len(those):.0f} %"
    yield from ["", *_table("not found", "steps tried", "why")]
    yield from (f"| {row['fault']} | {row['steps']:,} | {row['expected'] or 'not known'} |"
                for row in rows if not row["by"])
    yield from ["", *_table("found", "by", "steps", "s")]
    yield from (f"| {row['fault']} | {row['by']} | {row['steps']:,} | {row['seconds']} |" for row in rows if row["by"])


def tell_fuzz(kept: dict[str, Any]) -> Iterator[str]:
    yield from _table("device", "inputs", "corpus", "edges", "found")
    yield from (f"| {row['device']} | {row['inputs']:,} | {row['corpus']:,} | {row['edges']:,} | "
                f"{'a fault' if row['found'] else 0} |" for row in kept["rows"])


def tell_coverage(kept: dict[str, Any]) -> Iterator[str]:
    column, files = list(kept["columns"].items())[-1]
    yield f"Of the native handlers, by {column}; without what no input can reach (tools/fuzz/unreachable.txt)."
    yield from ["", *_table("file", "lines", "branches", "missed")]
    for name, covered in sorted(files.items()):
        yield (f"| {name} | {covered['lines'][0]} of {covered['lines'][1]} | {covered['branches'][0]} of "
               f"{covered['branches'][1]} | {len(covered['missed'])} |")


PARTS: dict[str, tuple[str, Callable, Callable]] = {
    "native": ("Random sequences, natively", native, tell_played),
    "verify": ("Random sequences, with BPF", verify, tell_played), "explore": ("Interleavings", explore, tell_explore),
    "models": ("Models", models, tell_models), "mutants": ("Mutation score", mutants, tell_mutants),
    "fuzz": ("Fuzzing", fuzz, tell_fuzz), "coverage": ("Coverage", coverage, tell_coverage)}


def page() -> str:
    lines = [HEAD]
    for name, (title, _run_it, tell) in PARTS.items():
        path = KEPT / f"{name}.json"
        lines += [f"## {title}", ""]
        if not path.exists():
            lines += ["Not run.", ""]
            continue
        kept = json.loads(path.read_text())
        lines += [(f"`{kept['command']}`, at commit {kept['commit']}, {kept['when']}, {kept['machine']}, "
                  f"{kept['seconds'] / 60:.0f} min."), "", *tell(kept), ""]
    return "\n".join(lines)


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"{name!r}; wanted {', '.join(PARTS)}")
    return name


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reliability", description="Run checks of the halves, for "
                                     "minutes to hours each, and write RELIABILITY.md from what they came to.")
    whole = {"type": int, "metavar": "N"}
    parser.add_argument("--steps", **whole, default=1_000_000, help="of native, of each device; of verify a fifth "
                        "(default: 1000000)")
    parser.add_argument("--runs", **whole, default=1_000_000, help="of fuzz (default: 1000000)")
    parser.add_argument("--seconds", type=float, metavar="N", default=60, help="how long mutants looks for each fault "
                        "(default: 60)")
    parser.add_argument("--seed", **whole, default=2026, help="of native, verify and fuzz (default: 2026)")
    parser.add_argument("parts", metavar="PART", nargs="*", type=_part, help=f"{', '.join(PARTS)} (default: all)")
    given = parser.parse_args(arguments)
    KEPT.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    for name in given.parts or PARTS:
        began = time.monotonic()
        found = PARTS[name][1](given)
        found |= {"commit": commit.stdout.strip(), "when": time.strftime("%Y-%m-%d"),
                  "seconds": time.monotonic() - began,
                  "machine": f"Linux {platform.release().split('-')[0]}, {len(os.sched_getaffinity(0))} CPUs"}
        (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
