"""The mutation score: which check finds which fault, and in how many steps.

    python -m tools.mutants [--seconds N] [--json FILE] [WORD...]

Of all faults, or those whose description or file has one of the words.

Each fault is an edit of a copy of kernel_devices/ and vmm/, whose native handlers are built anew.  A fault of the
protocol is looked for by the explorer first (tools/explore) and then, as any other is, by random sequences
(`splitvmm verify`) of the devices that it can be seen in, until one finds it or the time is over.  The exit status is 1
if one is not found that should be; faults.py says why some are not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.table import Table

from vmm.kit.build import NATIVE
from vmm.verify.strategies import ours

from ..edits import replaced
from .faults import FAULTS, Fault

ROOT = Path(__file__).parent.parent.parent
COMPILE = ("gcc", *NATIVE, "-w")      # whatever a fault leaves unused


def copied(folder: Path) -> None:
    """Both halves, and what they are run with."""
    for name in ("kernel_devices", "vmm", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "build/explore").mkdir(parents=True)
    for built in (ROOT / "build").iterdir():
        if built.is_file() and not built.name.startswith(tuple(f"{name}.so" for name in ours())):
            (folder / "build" / built.name).symlink_to(built)


def devices_of(fault: Fault) -> list[str]:
    """Those in which it can be seen."""
    named = [name for name in ours() if f"/{name}" in fault.file]
    return named[:1] or list(ours())


def build(folder: Path, fault: Fault, devices: list[str]) -> None:
    """Handlers of these devices, and what is explored if it is of the protocol, with the fault in.  Raises
    CalledProcessError."""
    (folder / fault.file).write_text(replaced(fault.file, (ROOT / fault.file).read_text(), fault.old, fault.new))
    jobs = [[*COMPILE, "-o", f"build/{name}.so", f"kernel_devices/{name}/{name}.c"] for name in devices]
    if fault.protocol:
        jobs.append([*COMPILE, "-DEXPLORE", "-Itools/explore", "-o", "build/explore/blk.so", "tools/explore/blk.c"])
    for job in [subprocess.Popen(job, cwd=folder) for job in jobs]:
        if job.wait():
            raise subprocess.CalledProcessError(job.returncode, job.args)
    if fault.protocol and not (folder / "build/explore/exit_path.so").exists():
        (folder / "build/explore/exit_path.so").symlink_to(ROOT / "build/exit_path.so")


def looked_for(folder: Path, fault: Fault, seconds: float) -> dict[str, Any]:
    """What found it first."""
    build(folder, fault, devices_of(fault))
    checks = [["explore", str(folder / "build/explore")]] if fault.protocol else []
    checks += [["verify", name] for name in devices_of(fault)]
    end, steps = monotonic() + seconds, 0
    try:
        for number, check in enumerate(checks):
            share = max(2.0, (end - monotonic()) * (0.75 if check[0] == "explore" else 1 / (len(checks) - number)))
            found = run(folder, check, share)
            steps += found.get("steps", 0)
            if found["by"]:
                return found | {"steps": steps}
        return {"by": "", "steps": steps}
    finally:
        shutil.copy(ROOT / fault.file, folder / fault.file)


def run(folder: Path, check: list[str], seconds: float) -> dict[str, Any]:
    """What a check found; that it did not run, which is a mistake of ours, is nothing that was found."""
    name = "explore" if check[0] == "explore" else " ".join(check)
    try:
        done = subprocess.run([sys.executable, "-m", "tools.mutants.check", *check, str(seconds)], cwd=folder,
                              env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
                              capture_output=True, text=True, timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        return {"by": name, "steps": 0, "what": "it hangs"}
    if done.returncode < 0:
        return {"by": name, "steps": 0, "what": f"it ends by {signal.Signals(-done.returncode).name}"}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"by": "", "steps": 0, "what": f"{name} failed"}
    return json.loads(done.stdout)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args(arguments)
    chosen = [fault for fault in FAULTS if not given.words or any(
        word in fault.what or word in fault.file for word in given.words)]
    if not chosen:
        parser.error(f"{' '.join(given.words)}: no fault's description or file has it; wanted a word that one has")
    rows, table = [], Table("fault", "found by", "steps", "s")
    with tempfile.TemporaryDirectory(prefix="splitvmm-mutants-") as folder:
        copied(Path(folder))
        for fault in chosen:
            began = monotonic()
            found = looked_for(Path(folder), fault, given.seconds)
            rows.append({"fault": fault.what, "protocol": fault.protocol, "expected": fault.expected,
                         "seconds": round(monotonic() - began, 1), **found})
            shown = f"{found['by']}: {found['what']}" if found["by"] else f"NOT FOUND; {fault.expected or 'unexpected'}"
            table.add_row(fault.what, shown, f"{found['steps']:,}", f"{rows[-1]['seconds']}")
            print(f"{fault.what}: {shown}", file=sys.stderr, flush=True)
            if given.json:
                given.json.write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=160).print(table)
    for title, those in (("the protocol's", [row for row in rows if row["protocol"]]), ("all", rows)):
        print(f"{title}: {sum(bool(row['by']) for row in those)} of {len(those)} found")
    return 1 if any(not row["by"] and not row["expected"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
