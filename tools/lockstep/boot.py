"""A real boot, instruction by instruction: KVM against the emulator.

    python -m tools.lockstep.boot DISK [--steps N] [--stretch N] [--between N] [--modes MODE,...]
        [--loaded] [--vga] [--keys TEXT] [--json FILE]

SeaBIOS, and what it loads from DISK, run in the emulator.  Every `--between` basic blocks KVM does a stretch of
instructions after it, from the same state.  Behind each of them general, segment, table and control registers, the
pages that KVM wrote and all accesses of devices are compared; at the end of a stretch, all memory.  The exit status is
1 if a difference is found that known.py does not explain.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vmm.errors import UserError
from vmm.kvm.vcpu import UnhandledExit
from vmm.machine.config import DiskConfig, ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine

from ..arguments import listed
from .booting import Boot
from .mirror import Mirror

MEMORY = 32 << 20       # each refresh copies it
MODES_SHOWN = ("real", "big-real", "protected-16", "protected-0", "long-0")


def machine_of(disk: Path, vga: bool, keys: str) -> Machine:
    return Machine(MachineConfig(firmware="seabios", disks=[DiskConfig(disk, offload="off", transport="pci")],
                                 memory=MEMORY, serial="null", vga="std" if vga else "none", keys=keys,
                                 executor=ExecutorConfig("emulator")))


def run(boot: Boot, given: argparse.Namespace) -> None:
    """Until so many steps are done, the guest is over, or the time is."""
    end = time.monotonic() + given.seconds
    while boot.steps < given.steps and not boot.over and time.monotonic() < end:
        try:
            if boot.mode.name in given.modes and (boot.in_loaded or not given.loaded):
                told = len(boot.examples)
                boot.stretch(min(given.stretch, given.steps - boot.steps))
                print(*boot.examples[told:], sep="\n", end="", file=sys.stderr, flush=True)
            boot.alone(given.between)
        except UnhandledExit as error:
            print(f"lockstep: {error}", file=sys.stderr)
            return


def rows(boot: Boot) -> list[dict[str, Any]]:
    return [{
        "mode": name, "steps": count.names.total(), "of what was loaded": count.loaded, "compared": count.compared,
        "names": len(count.names), "own": dict(count.own.most_common()), "refused": dict(count.refused.most_common()),
        "explained": {f"{known.fault}: {known.why}": number for known, number in count.explained.most_common()},
        "differences": {" ".join(key): number for key, number in count.differences.most_common()}}
        for name, count in sorted(boot.found.items(), key=lambda item: MODES_SHOWN.index(item[0]))]


def show(found: list[dict[str, Any]]) -> None:
    table = Table("mode", "steps", "of what was loaded", "mnemonics", "own", "KVM refused", "explained", "unexplained")
    for row in found:
        table.add_row(row["mode"], *(f"{row[key]:,}" for key in ("steps", "of what was loaded", "names")),
                      *(f"{sum(row[key].values()):,}" for key in ("own", "refused", "explained", "differences")))
    Console(width=120).print(table)


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.lockstep.boot", description=__doc__.splitlines()[0])
    parser.add_argument("disk", type=Path, help="a disk that a BIOS boots (tools/grub_disk.py, tools/syslinux_disk.py)")
    parser.add_argument("--steps", type=int, default=100_000, help="instructions in all (default: 100000)")
    parser.add_argument("--stretch", type=int, default=1000, help="in a row (default: 1000)")
    parser.add_argument("--between", type=int, default=100_000, help="basic blocks between two (default: 100000)")
    parser.add_argument("--modes", default=",".join(MODES_SHOWN), help="that a stretch begins in (default: all)")
    parser.add_argument("--loaded", action="store_true", help="a stretch begins in what the BIOS has loaded")
    parser.add_argument("--seconds", type=float, default=600, help="at most, about (default: 600)")
    parser.add_argument("--vga", action="store_true", help="with a display")
    parser.add_argument("--keys", default="", help="as of splitvmm run --keys")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found there, too")
    given = parser.parse_args(arguments)
    given.modes = listed(given.modes, list(MODES_SHOWN), parser)
    return given


def main(arguments: list[str]) -> int:
    given = parsed(arguments)
    try:
        with machine_of(given.disk, given.vga, given.keys) as machine:
            mirror = Mirror()
            try:
                boot = Boot(machine, mirror)
                run(boot, given)
            finally:
                mirror.close()
    except UserError as error:
        print(f"lockstep: {error}", file=sys.stderr)
        return 1
    for gpa in boot.unlike:
        print(f"page {gpa:#x}: not the same at the end of a stretch", file=sys.stderr)
    found = rows(boot)
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(bool(boot.unlike) or any(row["differences"] for row in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
