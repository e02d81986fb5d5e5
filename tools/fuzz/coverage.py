"""Which lines and branches of the native handlers the corpus runs, and which it does not.

    python -m tools.fuzz.coverage [--tests] [--json FILE]

--tests adds a column for the corpus with tests/kernel_devices, on handlers that count.  What neither runs is named by
line.  What no input can reach, unreachable.txt has with the reason, and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from vmm.errors import UserError
from vmm.paths import ROOT

from .targets import TARGETS, Target

FOLDER = ROOT / "build/coverage"
HANDLERS = ROOT / "kernel_devices"
UNREACHABLE = Path(__file__).parent / "unreachable.txt"


@dataclass
class Covered:
    """Of one file: how often each line ran, and each outcome of each condition, by its place."""

    lines: dict[int, int] = field(default_factory=dict)
    branches: dict[tuple[int, int, int, int, bool], int] = field(default_factory=dict)

    def add(self, line: int, count: int) -> None:
        self.lines[line] = max(self.lines.get(line, 0), count)

    def add_branch(self, line: int, column: int, end_line: int, end: int, yes: int, no: int) -> None:
        for outcome, count in ((True, yes), (False, no)):
            key = line, column, end_line, end, outcome
            self.branches[key] = max(self.branches.get(key, 0), count)

    @staticmethod
    def of(counts: Iterable[int]) -> tuple[int, int]:
        """How many ran, of how many."""
        counts = list(counts)
        return sum(count > 0 for count in counts), len(counts)


Coverage = dict[str, Covered]


def _tool(*command: object) -> str:
    try:
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found; wanted the Debian package llvm") from None
    if done.returncode:
        raise UserError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def read(program: Path, raw: list[Path], into: Coverage) -> None:
    """Adds what a program's profiles say of the handlers' files."""
    profile = program.with_suffix(".profdata")
    _tool("llvm-profdata", "merge", "-sparse", "-o", profile, *raw)
    export = ("llvm-cov", "export", f"-instr-profile={profile}", program)
    for file in json.loads(_tool(*export))["data"][0]["files"]:
        if covered := _of(file["filename"], into):
            for line, column, end_line, end, yes, no, *_ in file["branches"]:
                covered.add_branch(line, column, end_line, end, yes, no)
    name = ""
    for text in _tool(*export, "-format=lcov").splitlines():
        kind, _, value = text.partition(":")
        name = value if kind == "SF" else name
        if kind == "DA" and (covered := _of(name, into)):
            line, count = map(int, value.split(",")[:2])
            if _says_something(name, line):
                covered.add(line, count)


def _of(name: str, into: Coverage) -> Covered | None:
    """The entry of a handler's file; None for all others."""
    path = (ROOT / name).resolve()
    return into.setdefault(path.relative_to(HANDLERS).as_posix(), Covered()) if HANDLERS in path.parents else None


@cache
def _text(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()


def _says_something(name: str, line: int) -> bool:
    """Whether there is more to a line than a bracket or a comment."""
    return not re.match(r"\s*([{}\\\s]*|/?\*.*)$", _text(name)[line - 1])


def by_corpus(into: Coverage) -> None:
    for name in TARGETS:
        program, raw = FOLDER / f"{name}.fuzz", FOLDER / f"{name}.profraw"
        inputs = FOLDER / "inputs" / name
        inputs.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(Target(name).inputs()):
            (inputs / f"{number:03}").write_bytes(one)
        done = subprocess.run([program, *sorted(inputs.iterdir())], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "LLVM_PROFILE_FILE": str(raw)})
        if done.returncode:
            raise UserError(f"{name}: the corpus fails:\n{done.stderr[-2000:]}")
        read(program, [raw], into)


def by_tests(into: Coverage) -> None:
    for path in FOLDER.glob("tests-*.profraw"):
        path.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernel_devices"], cwd=ROOT,
        env={**os.environ, "SPLITVMM_BUILD": str(FOLDER), "LLVM_PROFILE_FILE": str(FOLDER / "tests-%m-%p.profraw")},
        capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"tests/kernel_devices fail:\n{done.stdout[-2000:]}")
    raw = sorted(FOLDER.glob("tests-*.profraw"))
    for name in TARGETS:
        read(FOLDER / f"{name}.so", raw, into)


def without_constants(*coverages: Coverage) -> None:
    """A condition whose outcome the compiler knows is none: it counts neither."""
    keys = {(name, key[:4]) for coverage in coverages for name, covered in coverage.items() for key in covered.branches}
    for name, place in keys:
        counts = [coverage[name].branches.get((*place, outcome), 0) for coverage in coverages if name in coverage
                  for outcome in (True, False)]
        line = max((coverage[name].lines.get(place[0], 0) for coverage in coverages if name in coverage), default=0)
        if line and not any(counts):
            for coverage in coverages:
                for outcome in (True, False):
                    coverage.get(name, Covered()).branches.pop((*place, outcome), None)


def condition(name: str, place: tuple[int, int, int, int]) -> str:
    """Its text, in its first line."""
    line, column, end_line, end = place
    return _text(f"kernel_devices/{name}")[line - 1][column - 1:end - 1 if end_line == line else None].strip()


def without_unreachable(*coverages: Coverage) -> None:
    """What is listed in unreachable.txt, and was not reached, does not count."""
    listed = {line for line in UNREACHABLE.read_text().splitlines() if line and not line.startswith("#")}
    for name, covered in ((name, covered) for coverage in coverages for name, covered in coverage.items()):
        text = _text(f"kernel_devices/{name}")
        covered.branches = {place: count for place, count in covered.branches.items()
                            if count or f"{name}: {condition(name, place[:4])}" not in listed}
        covered.lines = {line: count for line, count in covered.lines.items()
                         if count or f"{name}: {text[line - 1].strip()}" not in listed}


def missed(name: str, covered: Covered) -> list[str]:
    """Lines that did not run, and outcomes that conditions of those that did never had."""
    text = _text(f"kernel_devices/{name}")
    found = [(line, "never runs: " + text[line - 1].strip()) for line, count in covered.lines.items() if not count]
    found += [(place[0], f"never {str(place[4]).lower()}: {condition(name, place[:4])}")
              for place, count in covered.branches.items() if not count and covered.lines.get(place[0])]
    return [f"kernel_devices/{name}:{line}: {what}" for line, what in sorted(found)]


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def report(columns: dict[str, Coverage]) -> Table:
    table = Table(Column("file", no_wrap=True))
    for column in columns:
        for what in ("lines", "branches"):
            table.add_column(f"{column}: {what}", justify="right")
    for name in sorted({name for coverage in columns.values() for name in coverage}, key=lambda n: ("/" in n, n)):
        cells = []
        for coverage in columns.values():
            covered = coverage.get(name, Covered())
            cells += [percent(*covered.of(covered.lines.values())), percent(*covered.of(covered.branches.values()))]
        table.add_row(name, *cells)
    return table


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz.coverage", description="What the corpus runs.")
    parser.add_argument("--tests", action="store_true", help="also with tests/kernel_devices")
    parser.add_argument("--all", action="store_true", help="what unreachable.txt lists counts as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it as JSON as well")
    asked = parser.parse_args(arguments)
    columns: dict[str, Coverage] = {"corpus": {}}
    by_corpus(columns["corpus"])
    if asked.tests:
        columns["corpus and tests"] = {}
        by_corpus(columns["corpus and tests"])
        by_tests(columns["corpus and tests"])
    without_constants(*columns.values())
    if not asked.all:
        without_unreachable(*columns.values())
    Console().print(report(columns))
    last = list(columns.values())[-1]
    for name in sorted(last):
        for line in missed(name, last[name]):
            print(line)
    if asked.json:
        asked.json.write_text(json.dumps({column: {name: as_json(name, covered) for name, covered in coverage.items()}
                                          for column, coverage in columns.items()}, indent=1) + "\n")
    return 0


def as_json(name: str, covered: Covered) -> dict[str, object]:
    return {"lines": covered.of(covered.lines.values()), "branches": covered.of(covered.branches.values()),
            "missed": missed(name, covered)}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"coverage: {error}")
