"""kvm-unit-tests (https://gitlab.com/kvm-unit-tests/kvm-unit-tests) as guests of splitvmm.

    python -m tools.unit_tests DIRECTORY [--only NAME] [--executor NAME] [--qemu] [--seconds N] [--json FILE]

DIRECTORY has them built for x86-64 (`./configure && make`).  Runs those of x86/unittests.cfg that make sense here, each
in a process of its own, and prints what each came to; those that are left out, with the reason.  --qemu runs the same
ones by QEMU with KVM, to compare.  Ends with 0 if none failed.
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmm.cli.options import executor
from vmm.errors import UserError
from vmm.paths import ROOT

MEMORY = "128M"         # QEMU's default
SECONDS = 90            # after which a test hangs, where it has no limit of its own (scripts/runtime.bash)
STATUSES = {1: "passed", 77: "skipped"}     # of the exit port, whose bit 0 is always set (scripts/runtime.bash)
NESTED, HYPER_V = "nested virtualization", "Hyper-V is not offered to guests"
OTHER_CPU = "wants another CPU's CPUID than the host's"
LEFT_OUT_FILES = {
    "svm.flat": NESTED, "svm_npt.flat": NESTED, "vmx.flat": NESTED, "hyperv_synic.flat": HYPER_V,
    "hyperv_stimer.flat": HYPER_V, "hyperv_connections.flat": HYPER_V, "hyperv_clock.flat": HYPER_V,
    "intel-iommu.flat": "needs QEMU's intel-iommu and edu",
    "s3.flat": "needs a PC's CMOS clock, and ACPI's sleep state S3",
}
LEFT_OUT = {
    "vmexit_inl_pmtimer": "needs a PC's power management timer",
    "xapic": OTHER_CPU, "access-reduced-maxphyaddr": OTHER_CPU, "pcid-disabled": OTHER_CPU,
    "pcid-asymmetric": OTHER_CPU, "msr64": OTHER_CPU,
}
PASSED, FAILED, SKIPPED_LINES = ("PASS", "XFAIL"), ("FAIL", "XPASS"), ("SKIP",)     # as each line of a report begins
QEMU_CPU = "host,-arch-capabilities"    # an MSR that not every KVM that has it lets QEMU set
QEMU_BROKE = "KVM internal error"

_REPORTED = re.compile(r"^(PASS|FAIL|SKIP|XFAIL|XPASS): ", re.MULTILINE)
_MESSAGE = re.compile(r"^(?:splitvmm: |qemu|KVM internal).*", re.MULTILINE)       # of the command, not registers
_ENDED = re.compile(r"the guest ended with status (\d+)")


@dataclass(frozen=True)
class Unit:
    """A section of unittests.cfg."""

    name: str
    path: Path
    cpus: int
    memory: str
    arguments: str
    seconds: float      # after which it hangs
    why_not: str        # it is left out, if it is


@dataclass
class Outcome:
    """What a test came to; the numbers are of its reports."""

    name: str
    verdict: str        # passed, failed, skipped, hung, or broke (no status came of the guest)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)      # reports that failed, or what the command said last


def units(directory: Path, seconds: float) -> list[Unit]:
    """All of x86/unittests.cfg, in its order.  Raises UserError."""
    file = directory / "x86" / "unittests.cfg"
    config = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    try:
        config.read_string(file.read_text())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; wanted a directory of kvm-unit-tests") from None
    except configparser.Error as error:
        raise UserError(f"{file}: {error.message}; wanted unittests.cfg of kvm-unit-tests") from None
    return [_unit(directory, section, seconds) for section in config.values() if section.get("file")]


def _unit(directory: Path, section: configparser.SectionProxy, seconds: float) -> Unit:
    path = directory / "x86" / section["file"]
    memory = re.search(r"-m (\S+)", section.get("qemu_params", ""))
    return Unit(section.name, path, section.getint("smp", 1), _size(memory[1]) if memory else MEMORY,
                section.get("test_args", ""), seconds or section.getfloat("timeout", SECONDS),
                _why_not(section, path))


def _size(text: str) -> str:
    """QEMU's, whose numbers are MiB."""
    return f"{text}M" if text.isdigit() else text.upper()


def _why_not(section: configparser.SectionProxy, path: Path) -> str:
    """Why a test is left out; nothing if it is not."""
    if section.get("arch", "x86_64") != "x86_64":
        return f"for {section['arch']} alone"
    if why := LEFT_OUT.get(section.name) or LEFT_OUT_FILES.get(path.name):
        return why
    if "nodefault" in section.get("groups", "").split():
        return "run by hand only, as unittests.cfg has it"
    for condition in section.get("check", "").split():
        file, _, wanted = condition.partition("=")
        if not Path(file).is_file() or Path(file).read_text().strip() != wanted:
            return f"wants {wanted} in {file}"
    return "" if path.exists() else f"{path.name} was not built"


# Commands

def _arguments(unit: Unit) -> str:
    """Its command line, for which the shell asks the time."""
    return " ".join(shlex.split(unit.arguments.replace("`date +%s`", str(int(time.time())))))


def _environment(unit: Unit, folder: Path) -> Path:
    """A module that says what it would ask QEMU's fw_cfg otherwise (lib/x86/fwcfg.c)."""
    path = folder / "environment"
    path.write_text(f"NR_CPUS={unit.cpus}\nTEST_DEVICE=1\n")
    return path


def splitvmm(unit: Unit, executor: str, folder: Path) -> list[str]:
    """`-v` has each status said, whatever it is."""
    command = [sys.executable, "-m", "vmm", "-v", "run", str(unit.path), "--machine-ports", "test", "--no-reboot",
               "--mem", unit.memory, "--cpus", str(unit.cpus), "--module", str(_environment(unit, folder))]
    if arguments := _arguments(unit):
        command += ["--append", arguments]
    return command + (["--executor", executor] if executor != "kvm" else [])


def qemu(unit: Unit, folder: Path) -> list[str]:
    """As x86/run has it, with the host's CPU."""
    command = ["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
               "-accel", "kvm", "-cpu", QEMU_CPU, "-global", "kvm-pit.lost_tick_policy=discard",
               "-device", "pc-testdev", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4",
               "-kernel", str(unit.path), "-initrd", str(_environment(unit, folder)),
               "-smp", str(unit.cpus), "-m", unit.memory]
    return command + (["-append", arguments] if (arguments := _arguments(unit)) else [])


# Verdicts

def run(unit: Unit, executor: str, by_qemu: bool) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="splitvmm-unit-tests-") as name:
        folder = Path(name)
        command = qemu(unit, folder) if by_qemu else splitvmm(unit, executor, folder)
        out, errors = folder / "out", folder / "errors"
        began, status = time.monotonic(), None
        with open(out, "wb") as out_file, open(errors, "wb") as errors_file, suppress(subprocess.TimeoutExpired):
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=errors_file, cwd=ROOT,
                                    timeout=unit.seconds).returncode
        took = time.monotonic() - began
        return outcome(unit.name, status, by_qemu, out.read_text(errors="replace"), errors.read_text(errors="replace"),
                       took)


def outcome(name: str, status: int | None, by_qemu: bool, said: str, errors: str, seconds: float) -> Outcome:
    """`status` is the command's, or None where it had to be ended; `said` is the guest's, `errors` the command's."""
    said = said.replace("\r", "")
    count = Counter(_REPORTED.findall(said))
    found = Outcome(name, _verdict(status, by_qemu, errors), sum(count[word] for word in PASSED),
                    sum(count[word] for word in FAILED), sum(count[word] for word in SKIPPED_LINES), round(seconds, 1))
    found.notes = [line for line in said.splitlines() if line.startswith((*FAILED, "Unhandled exception"))]
    if found.verdict == "broke":
        found.notes += _MESSAGE.findall(errors)[-1:]
    elif found.verdict == "hung" or (found.verdict == "failed" and not found.notes):
        found.notes += said.strip().splitlines()[-1:]
    return found


def _verdict(status: int | None, by_qemu: bool, errors: str) -> str:
    if status is None:      # where KVM gives up QEMU stops the guest, and waits
        return "broke" if QEMU_BROKE in errors else "hung"
    if not by_qemu:
        told = _ENDED.search(errors)
        status = int(told[1]) if told else 0
    return STATUSES.get(status, "failed" if status > 0 and status & 1 else "broke")


def _row(found: Outcome) -> Iterator[str]:
    yield from (found.name, found.verdict, str(found.passed), str(found.failed), str(found.skipped),
                f"{found.seconds:.1f}")
    yield found.notes[0] + (f" (and {len(found.notes) - 1} more)" if found.notes[1:] else "") if found.notes else ""


def _tables(found: list[Outcome], left_out: list[Unit]) -> Iterator[Table]:
    table = Table("test", "verdict", "passed", "failed", "skipped", "s", "first note")
    for one in found:
        table.add_row(*_row(one))
    yield table
    table = Table("left out", "why")
    for unit in left_out:
        table.add_row(unit.name, unit.why_not)
    yield table


def _chosen(found: list[Unit], only: list[str]) -> list[Unit]:
    names = {unit.name for unit in found}
    for name in only:
        if name not in names:
            raise UserError(f"--only {name}: not in unittests.cfg; wanted one of {', '.join(sorted(names))}")
    return [unit for unit in found if not only or unit.name in only]


def _executor(text: str) -> str:
    try:
        executor(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--executor ")) from None
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.unit_tests", description=__doc__.splitlines()[0],
                                     epilog="The exit status is 0 if none failed, 1 otherwise.")
    parser.add_argument("directory", type=Path, help="of kvm-unit-tests, built")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given more than once")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--executor", default="kvm", metavar="NAME[,blocks=N]", type=_executor,
                       help="what runs the vCPUs, as of splitvmm run: kvm, auto or emulator (default: kvm)")
    whose.add_argument("--qemu", action="store_true", help="run them by QEMU with KVM")
    parser.add_argument("--seconds", type=float, default=0, help="after which each is said to hang (default: its own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found there, too")
    options = parser.parse_args()
    try:
        every = _chosen(units(options.directory.resolve(), options.seconds), options.only)
    except UserError as error:
        print(f"unit_tests: {error}", file=sys.stderr)
        return 1
    found = []
    for unit in every:
        if not unit.why_not:
            found.append(run(unit, options.executor, options.qemu))
            print(*_row(found[-1]), sep="\t", file=sys.stderr, flush=True)
    left_out = [unit for unit in every if unit.why_not]
    for table in _tables(found, left_out):
        Console(width=120, markup=False, highlight=False).print(table)
    if options.json:
        options.json.write_text(json.dumps({
            "executor": "qemu" if options.qemu else options.executor, "tests": [asdict(one) for one in found],
            "left out": {unit.name: unit.why_not for unit in left_out}}, indent=2) + "\n")
    return int(any(one.verdict not in ("passed", "skipped") for one in found))


if __name__ == "__main__":
    sys.exit(main())
