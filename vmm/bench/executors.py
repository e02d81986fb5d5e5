"""What partial emulation is worth: drivers that dance with a device's registers, on KVM alone and with an emulator for
some basic blocks after each exit (`bench exits --executors`)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from statistics import median

from ..devices.probe import ProbeDevice, ProbeLinesDevice
from ..devmodel.devices.probe import Probe
from ..errors import UserError
from ..machine.config import MOST_BLOCKS, ExecutorConfig, MachineConfig
from ..machine.machine import Machine
from ..paths import BUILD
from .rows import spread

BASE, PORT = 0xd0000000, 0x80
MEMORY = 16 << 20
DANCES = {      # -> (accesses of one, how often it is danced); `posted` is with a native handler
    "writes": (5, 4000), "polling": (64, 300), "string": (640, 30), "bits": (256, 75), "posted": (64, 300)}
KVM = "kvm"
TIMEOUT_S = 120         # for hangs


def named(word: str) -> ExecutorConfig:
    """One of --executors: kvm, auto, or basic blocks after each exit.  Raises UserError."""
    if word == KVM:
        return ExecutorConfig()
    if word == "auto":
        return ExecutorConfig("auto")
    if word.isdecimal() and int(word) <= MOST_BLOCKS:
        return ExecutorConfig("auto", int(word))
    raise UserError(f"--executors {word!r}; wanted kvm, auto, or a number of basic blocks")


@dataclass(frozen=True)
class _Danced:
    ticks: int
    cpu_ns: int
    exits: int
    spared: int


def _dance(name: str, count: int, executor: ExecutorConfig) -> _Danced:
    device, mode, first = ProbeLinesDevice("lines"), "off", 0
    if name == "posted":
        device, mode, first = ProbeDevice("probe"), "host", Probe.posted0.offset
    with tempfile.NamedTemporaryFile("r") as output:
        config = MachineConfig(BUILD / "trips.elf", MEMORY, serial=f"file={output.name}", executor=executor,
                               cmdline=f"dance={name} count={count} base={BASE + first:#x} port={PORT:#x}")
        with Machine(config, ((device, mode),)) as machine:
            status = machine.run(TIMEOUT_S)
            spared = sum(partial.counters()["spared"] for partial in machine.partial)
            exits = sum(thread.exits for thread in machine.threads)
            if mode == "host":      # what the native half took, of exits and of accesses without one
                exits += sum(thread.vcpu.loop.hooked for thread in machine.threads) - spared
            cpu_ns = sum(thread.cpu_ns for thread in machine.threads)
        text = output.read()
    before, _, ticks = text.partition("ticks=")
    if status or not ticks:
        raise UserError(f"the dancing guest ended with status {status} and said {before!r}; wanted 0 and its ticks")
    return _Danced(int(ticks), cpu_ns, exits, spared)


def rows(words: list[str], repeat: int, quick: bool, tsc_khz: int, progress) -> list[dict]:
    """A row for each dance and executor; those of one dance are interleaved."""
    executors, found = {word: named(word) for word in dict.fromkeys([KVM, *words])}, []
    with progress() as bar:
        task = bar.add_task("executors", total=len(DANCES) * repeat * len(executors))
        for dance, (accesses, times) in DANCES.items():
            count = max(1, times // (10 if quick else 1))
            taken: dict[str, list[_Danced]] = {word: [] for word in executors}
            for _ in range(repeat):
                for word, executor in executors.items():
                    bar.update(task, description=f"{dance}, {word}")
                    taken[word].append(_dance(dance, count, executor))
                    bar.advance(task)
            found += [_row(dance, word, accesses, count, each, tsc_khz) for word, each in taken.items()]
    return found


def _row(dance: str, word: str, accesses: int, count: int, taken: list[_Danced], tsc_khz: int) -> dict:
    executor = word if word in (KVM, "auto") else f"{word} blocks"
    return {"bench": "exits", "mode": "off", "op": f"{dance}, {executor}", "pattern": None, "bytes": 4,
            "depth": accesses, "wait": "poll", "ring": 0, "requests": count,
            **spread([each.ticks / count * 1e6 / tsc_khz for each in taken]), "floor_ns": 0.0,
            "cpu_ns_per_request": round(median(each.cpu_ns for each in taken) / count, 1), "cpu_ring_ns": 0.0,
            "exits_to_user": round(median(each.exits for each in taken)), "handled": 0, "declined": 0,
            "spared": round(median(each.spared for each in taken))}
