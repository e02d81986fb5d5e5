"""Idle VMs beside what is measured, as users run them: each a process of its own, which ends when this one does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from ..sync.signals import uninterrupted
from .start import Case, Guest, command

IDLE_BYTES = 16 << 20       # of RAM
DEVICES = ("--console", "null,offload=on", "--rng", "offload=on")      # beside a disk
SETTLE_S = 0.5      # memory of VMs that have ended is given back a little later, that of BPF maps by RCU
SAMPLED = 8         # VMs whose processes' memory is looked at
LEAST = 16          # VMs, of which it can be told from other changes what the kernel has


class Neighbours:
    """As many as were wanted; a context manager that ends them."""

    def __init__(self, image: Path):
        """`image` is a disk's, which all of them read."""
        self._words = command(Case("on", IDLE_BYTES), image, "wait", *DEVICES)
        self._image = image
        self._guests: list[Guest] = []
        self._taken = 0         # of the host's memory, by all of them as they started, in bytes

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def pids(self) -> list[int]:
        return [guest.process.pid for guest in self._guests]

    def grow_to(self, number: int) -> None:
        """As many at a time as there are CPUs.  Raises UserError where one does not start."""
        at_once = len(os.sched_getaffinity(0))
        if len(self) >= number:
            return
        with self._growing():
            while len(self) < number:
                for guest in [self._begin() for _ in range(min(at_once, number - len(self)))]:
                    guest.wait_first()

    def add(self) -> int:
        """One more, alone: how long it took to its guest's first instruction, in ns."""
        with self._growing():
            return self._begin().wait_first()

    @contextmanager
    def _growing(self) -> Iterator[None]:
        """For the block nothing but VMs that start takes memory of the host's, as far as it is up to us."""
        time.sleep(SETTLE_S)
        before = available_bytes()
        yield
        time.sleep(SETTLE_S)
        self._taken += before - available_bytes()

    def _begin(self) -> Guest:
        with uninterrupted():
            self._guests.append(guest := Guest(self._words, tied=True))
        return guest

    def memory(self) -> tuple[int, int | None]:
        """Of one VM beside its RAM, in bytes: its process's, and what the kernel has for it.  The latter is what all of
        them together took of the host's memory, less RAM and processes; None of too few."""
        own = mean(process_bytes(pid, self._image) for pid in self.pids[-SAMPLED:])
        kernel = round(self._taken / len(self) - own - IDLE_BYTES) if len(self) >= LEAST else None
        return round(own), kernel

    def close(self) -> None:
        with uninterrupted():
            for guest in self._guests:
                guest.process.kill()        # all of them, before any is waited for
            for guest in self._guests:
                guest.close()
            self._guests.clear()


def process_bytes(pid: int, image: Path) -> int:
    """Proportional set size of a process (proc_pid_smaps(5)), in bytes, without BPF maps, which are the kernel's memory
    and guest RAM, and without the disk's image, which is the page cache's."""
    total, kept, mapped = 0, True, os.path.realpath(image)
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *words = line.split()
        if "-" in name and not name.endswith(":"):
            kept = not line.endswith(("anon_inode:bpf-map", mapped))
        elif name == "Pss:" and kept:
            total += int(words[0]) << 10
    return total


def available_bytes() -> int:
    """Of the host's memory (proc_meminfo(5): MemAvailable, in KiB)."""
    found = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
    return int(found.split()[0]) << 10
