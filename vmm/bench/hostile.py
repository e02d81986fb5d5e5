"""An honest VM that reads from its disk, alone or beside one that does the worst it can to others of its host.

Where they run tells what is ours from what is the host's: on CPUs of their own, one VM holds up another by what they
share in the kernel alone; on one CPU, also by the slices that the scheduler gives it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..machine.config import DiskConfig, MachineConfig
from ..paths import BUILD
from .measure import MEMORY, TIMEOUT_S, Sample, run_machine
from .start import Guest, splitvmm
from .tail import MOST_STAMPED

READ_BYTES, READ_RING = 4096, 3
PASSES, QUICK_PASSES = 24, 2        # of MOST_STAMPED reads
LOOK_S = 0.01       # between two looks at a thread
NOBODY = "nobody"
# what guests/heavy.c is told: doorbells that are declined, interrupts, and the largest chains that there are
ATTACKS = {"declines": "pieces=2 requests=1 buffers=1 ring=3", "interrupts": "interrupts=1 requests=1 buffers=1 ring=0",
           "chains": "requests=128 buffers=126 ring=3"}
OWN_CPUS, ONE_CPU = "own CPUs", "one CPU"
Cpus = set[int]


@dataclass(frozen=True)
class Beside:
    """Who is beside the honest VM, and on which CPUs."""

    who: str = NOBODY
    cpus: str = ONE_CPU


def besides() -> list[Beside]:
    """All that there are; on one CPU alone where this process has no more."""
    several = len(os.sched_getaffinity(0)) > 1
    return [Beside(who, cpus) for cpus in ((OWN_CPUS, ONE_CPU) if several else (ONE_CPU,))
            for who in (NOBODY, *ATTACKS)]


@dataclass(frozen=True)
class Reads:
    """What the honest VM took, what its guest printed, and how long its vCPU's thread waited for a CPU meanwhile."""

    sample: Sample
    text: str
    waited_ns: int


def read_beside(beside: Beside | None, image: Path, quick: bool) -> Reads:
    """Without `beside` it runs wherever it likes to."""
    if not beside:
        return _read(image, quick)
    honest, other = _cpus(beside.cpus)
    with _on(other), _attack(beside.who, image) as guest, _on(honest):
        found = _read(image, quick)
        if guest and guest.process.poll() is not None:
            raise UserError(f"the hostile guest ({beside.who}) ended with status {guest.process.returncode}; wanted it "
                            "to go on as long as the honest one")
    return found


def _read(image: Path, quick: bool) -> Reads:
    passes = QUICK_PASSES if quick else PASSES
    words = f"bytes={READ_BYTES} pattern=random ring={READ_RING} stamps={MOST_STAMPED} passes={passes}"
    config = MachineConfig(BUILD / "measure.elf", MEMORY, cmdline=words,
                           disks=[DiskConfig(image, read_only=True, offload="on")])
    waited = [0]
    sample, text = run_machine(config, during=lambda machine: waited.extend(_waits(machine.threads[0].native_id)))
    return Reads(sample, text, waited[-1])


def _waits(thread: int) -> Iterator[int]:
    """How long it has waited for a CPU so far, in ns, now and again until it ends (Documentation/scheduler/
    sched-stats.rst: the second of /proc/PID/schedstat)."""
    with suppress(OSError):     # it has ended
        for _ in range(round(TIMEOUT_S / LOOK_S)):
            yield int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
            time.sleep(LOOK_S)


def _cpus(how: str) -> tuple[Cpus, Cpus]:
    """The honest VM's and the other one's: a half each, or both the first."""
    there = sorted(os.sched_getaffinity(0))
    if how == ONE_CPU:
        return {there[0]}, {there[0]}
    half = len(there) // 2
    return set(there[:half]), set(there[half:])


@contextmanager
def _on(cpus: Cpus) -> Iterator[None]:
    """For the block this thread, and what it starts, is on these alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _attack(who: str, image: Path) -> Iterator[Guest | None]:
    """A VM that is at it when the block begins."""
    if who == NOBODY:
        yield None
        return
    guest = Guest([*splitvmm(), "run", str(BUILD / "heavy.elf"), "--append", f"rounds=0 {ATTACKS[who]}", "--mem",
                   f"{MEMORY >> 20}M", "--serial", "stdout", "--disk", f"{image},readonly=on,offload=on", "--quiet"],
                  tied=True)
    try:
        guest.wait_first()
        yield guest
    finally:
        guest.close()
