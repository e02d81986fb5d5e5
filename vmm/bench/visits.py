"""The longest visit of a handler to a queue, by a guest that asks for as much as it can at once:
preemption is off meanwhile, so that this is what one guest can hold a CPU for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..devmodel.devices.blk import PUNCH_HOLE
from ..devmodel.layout import PAGE
from ..machine.config import DiskConfig, MachineConfig
from ..paths import BUILD
from ..sync._shared import lib
from ..sync.signals import temporary_folder
from .measure import MEMORY, run_machine

IMAGE_BYTES = 32 << 20


@dataclass(frozen=True)
class VisitCase:
    """So many reads made available for one doorbell, of so many buffers each.  `ring` is off where the
    handler has no io_uring; with `hole` the last page of each read is a hole in the image, so that the
    handler copies all but that for nothing."""

    requests: int
    buffers: int
    bytes: int
    ring: bool = True
    hole: bool = False

    @property
    def label(self) -> str:
        size = f"{self.bytes} B" if self.bytes < 1024 else f"{self.bytes >> 10} KiB"
        parts = f"of {self.buffers} x {size}" if self.buffers > 1 else f"of {size}"
        return f"{self.requests} reads {parts}" + ("" if self.ring else ", no ring") + (", a hole" if self.hole else "")


VISIT_CASES = (VisitCase(1, 1, 4096), VisitCase(32, 1, 4096), VisitCase(256, 1, 4096), VisitCase(128, 126, 512),
               VisitCase(128, 126, 512, ring=False), VisitCase(62, 1, 8 << 20), VisitCase(62, 1, 8 << 20, hole=True),
               VisitCase(62, 1, 256 << 10, ring=False, hole=True))


def visits(repeat: int, quick: bool) -> list[dict]:
    """A row a case: the longest visit of each repetition's."""
    with temporary_folder("splitvmm-bench-") as directory:
        image = Path(directory) / "disk"
        return [_row(case, [_run(case, image, 3 if quick else 20) for _ in range(repeat)]) for case in VISIT_CASES]


def _run(case: VisitCase, image: Path, rounds: int) -> tuple[int, int, int]:
    """Longest visit in ns; requests served by the kernel half, and by the user half."""
    found = []
    image.write_bytes(os.urandom(IMAGE_BYTES))      # and so in the page cache
    if case.hole:
        rounds = 1      # what missed is mapped afterwards
        with open(image, "r+b") as file:
            for end in range(case.bytes, IMAGE_BYTES + 1, case.bytes):
                lib.file_allocate(file.fileno(), PUNCH_HOLE, end - PAGE, PAGE)
    disk = DiskConfig(image, offload="on", asynchronous="auto" if case.ring else "off")
    words = f"requests={case.requests} buffers={case.buffers} bytes={case.bytes} rounds={rounds}"

    def read(machine):
        state = machine.devices[0].state.queue[0]
        found.append((state.entry.longest_ns, state.entry.handled, state.user.handled))
    run_machine(MachineConfig(BUILD / "heavy.elf", MEMORY, cmdline=words, disks=[disk]), after=read)
    return found[0]


def _row(case: VisitCase, found: list[tuple[int, int, int]]) -> dict:
    longest = [one[0] for one in found]
    return {"op": case.label, "longest_ns": max(longest), "longest_median_ns": median(longest),
            "handled": found[-1][1], "user_handled": found[-1][2]}
