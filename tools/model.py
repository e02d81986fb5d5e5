"""Is the protocol of vmm/sync/PROTOCOL.md right, and are all of its rules needed?  spin runs the models of it in
models/ through every order that their processes and stores can have.

    python -m tools.model [--faults] [WORD ...]    those whose name has one of the words, or all

Without --faults, each model: no property may be violated, and nobody wait for ever.  With it, a model without one of
the rules, for each: the property that is named beside it must be violated.  Both are listed at the top of the models'
files.  Prints a table; fails if something is not as it must be.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmm.errors import UserError

MODELS = Path(__file__).parent.parent / "models"
MEMORY_MIB = 1024
DEPTH = 1_000_000       # of the search, in steps
NEVER_ENDS = "nobody_waits_for_ever"    # spin's own property: each process comes to its end, or to a label `end`
NONE = "-"              # of a fault that violates nothing

_ENTRY = re.compile(r"^ \*\t(\S+)\t+(\S.*)$")
_CONDITION = re.compile(r"^#(?:ifdef|ifndef|if|elif)\b(.*)$", re.MULTILINE)
_DEFINED = re.compile(r"^#define (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Model:
    """One of the systems that a file describes: the file with some macros defined."""

    path: Path
    name: str
    macros: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A model without one of its rules."""

    name: str           # of the macro
    model: Model
    violates: str       # a property, or NONE


@dataclass(frozen=True)
class Search:
    """What spin came to."""

    states: int
    transitions: int
    depth: int          # steps of the longest run, or of the one that violates a property
    seconds: float
    violated: str       # the property, or NONE


def listed(text: str, heading: str) -> Iterator[list[str]]:
    """The entries of a list in a file's first comment, as their columns."""
    comment = text[:text.index("*/")]
    if f" * {heading}:\n" not in comment:
        return
    for line in comment.partition(f" * {heading}:\n")[2].splitlines():
        if not (entry := _ENTRY.match(line)):
            return
        yield [entry[1], *re.split(r"\t+", entry[2])]


def read(path: Path) -> tuple[list[Model], list[Fault]]:
    """A file's models and faults.  Raises UserError if a fault is of no model."""
    text = path.read_text()
    models = {name: Model(path, name, () if macros == NONE else tuple(macros.split(",")))
              for name, macros, *_ in listed(text, "models")}
    faults = []
    for name, model, violates, *_ in listed(text, "faults"):
        if model not in models:
            raise UserError(f"{path}: fault {name} is of model {model}; wanted one of {', '.join(models)}")
        faults.append(Fault(name, models[model], violates))
    return list(models.values()), faults


def read_all(folder: Path = MODELS) -> tuple[list[Model], list[Fault]]:
    """Those of all files.  Raises UserError if the lists and the macros that the files ask for are not the same."""
    models: list[Model] = []
    faults: list[Fault] = []
    asked: set[str] = set()
    defined: set[str] = set()
    for path in sorted(folder.glob("*.pml")):
        found, text = read(path), path.read_text()
        models += found[0]
        faults += found[1]
        asked |= set(re.findall(r"\b[A-Z]\w+", " ".join(_CONDITION.findall(text))))
        defined |= set(_DEFINED.findall(text))
    known = {fault.name for fault in faults} | {macro.partition("=")[0] for model in models for macro in model.macros}
    if unlisted := asked - known - defined:
        raise UserError(f"{folder}: #ifdef {', '.join(sorted(unlisted))}; wanted it in a list of models or of faults")
    if unused := known - asked:
        raise UserError(f"{folder}: {', '.join(sorted(unused))} is listed; wanted an #ifdef of it")
    return models, faults


def search(model: Model, fault: str = "", quick: bool = False) -> Search:
    """All states of a model; with a fault, until a property is violated: breadth first, so that the run to that is
    as short as can be.  `quick` is for small ones: no time is spent on an optimizer, nor on a short run.  Raises
    UserError if spin cannot do that."""
    with tempfile.TemporaryDirectory(prefix="splitvmm-model-") as name:
        folder = Path(name)
        for path in model.path.parent.glob("*.pml"):
            shutil.copy(path, folder)
        macros = [f"-D{macro}" for macro in (*model.macros, fault) if macro]
        breadth_first = bool(fault) and not quick
        _run(folder, "spin", *macros, "-a", model.path.name)
        _run(folder, "gcc", "-O0" if quick else "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}",
             *(["-DBFS"] if breadth_first else []), "-o", "pan", "pan.c")
        said = _run(folder, "./pan", *([] if breadth_first else [f"-m{DEPTH}"]))
        if ("Search not completed" in said and "errors: 0" in said) or "too small" in said:
            raise UserError(f"{model.name}: more than {MEMORY_MIB} MiB of states, or {DEPTH:,} steps; wanted a smaller "
                            "model")
        return _read_search(said, lambda: _run(folder, "./pan", "-r", f"{model.path.name}.trail"))


def _run(folder: Path, *command: str) -> str:
    """What a command says.  Raises UserError if it is missing, or fails."""
    try:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is missing; wanted the Debian package of that name") from None
    if done.returncode or "syntax error" in done.stdout:
        raise UserError(f"{' '.join(command)}: {done.stdout.strip()[-500:]}")
    return done.stdout


def _read_search(said: str, replay: Callable[[], str]) -> Search:
    """pan's report; which property is violated is only in the run that it saved."""
    def figure(pattern: str) -> float:
        return float(re.search(pattern, said)[1])
    violated, depth = NONE, int(figure(r"depth reached (\d+)"))
    if failed := re.search(r"^pan:1: (.*) \(at depth (\d+)\)", said, re.MULTILINE):
        named = re.search(r"^\s+printf\('violated: %e\\n',(\w+)\)$", replay(), re.MULTILINE)
        violated, depth = named[1] if named else NEVER_ENDS, int(failed[2])
        if not named and failed[1] != "invalid end state":
            raise UserError(f"spin: {failed[0]}; wanted a property() that names itself")
    return Search(int(figure(r"(\d+) states, stored")), int(figure(r"([\d.e+]+) transitions")), depth,
                  figure(r"elapsed time ([\d.e+-]+) seconds"), violated)


def show(rows: Iterable[tuple[str, str, Search, str]], title: str) -> int:
    """A table of (file, name, what was found, the property that must be violated); how many are not as they must be."""
    table, wrong = Table(title=title, title_justify="left"), 0
    for column in ("file", title.removesuffix("s"), "states", "transitions", "steps", "seconds", "violated", ""):
        table.add_column(column, justify="right" if column in ("states", "transitions", "steps", "seconds") else "left")
    for file, name, found, wanted in rows:
        good = found.violated == wanted
        wrong += not good
        table.add_row(file, name, f"{found.states:,}", f"{found.transitions:,}", f"{found.depth:,}",
                      f"{found.seconds:.1f}", found.violated, "" if good else f"WRONG; wanted {wanted}")
    Console(width=None if sys.stdout.isatty() else 132).print(table)
    return wrong


def main(arguments: list[str]) -> int:
    words = [word for word in arguments if word != "--faults"]

    def chosen(name: str) -> bool:
        return not words or any(word in name for word in words)
    try:
        models, faults = read_all()
        names = [each.name for each in (faults if "--faults" in arguments else models)]
        for word in words:
            if not any(word in name for name in names):
                raise UserError(f"{word!r}; wanted a part of one of {', '.join(names)}")
        if "--faults" in arguments:
            wrong = show(((fault.model.path.stem, fault.name, search(fault.model, fault.name), fault.violates)
                          for fault in faults if chosen(fault.name)), "faults")
        else:
            wrong = show(((model.path.stem, model.name, search(model), NONE)
                          for model in models if chosen(model.name)), "models")
    except UserError as error:
        print(f"model: {error}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
