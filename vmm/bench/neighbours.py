"""Idle VMs beside what is measured, as users run them: each a process of its own, which ends when this one does."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import mean

from ..sync.signals import uninterrupted
from .start import Case, Guest, command, proportional_bytes

IDLE_BYTES = 16 << 20       # of RAM
DEVICES = ("--console", "null,offload=on", "--rng", "offload=on")      # beside a disk
SETTLE_S = 0.2      # for what a VM does once its guest has begun
SAMPLED = 8         # VMs whose memory is looked at
STACK_BYTES = 16 << 10      # of a thread in the kernel (arch/x86/include/asm/page_64_types.h: THREAD_SIZE)


class Neighbours:
    """As many as were wanted; a context manager that ends them."""

    def __init__(self, image: Path):
        """`image` is a disk's, which all of them read."""
        self._words = command(Case("on", IDLE_BYTES), image, "wait", *DEVICES)
        self._image = image
        self._guests: list[Guest] = []

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._guests)

    def grow_to(self, number: int) -> None:
        """As many at a time as there are CPUs.  Raises UserError where one does not start."""
        at_once = len(os.sched_getaffinity(0))
        while len(self) < number:
            for guest in [self._begin() for _ in range(min(at_once, number - len(self)))]:
                guest.wait_first()

    def add(self) -> int:
        """One more, alone: how long it took to its guest's first instruction, in ns."""
        return self._begin().wait_first()

    def _begin(self) -> Guest:
        with uninterrupted():
            self._guests.append(guest := Guest(self._words, tied=True))
        return guest

    def memory(self) -> tuple[int, int]:
        """Of one VM beside its RAM, in bytes: its process's, and the kernel's for it, as far as that is told."""
        time.sleep(SETTLE_S)
        pids = [guest.process.pid for guest in self._guests[-SAMPLED:]]
        return (round(mean(process_bytes(pid, self._image) for pid in pids)),
                round(mean(map(kernel_bytes, pids))) - IDLE_BYTES)

    def close(self) -> None:
        with uninterrupted():
            for guest in self._guests:
                guest.process.kill()        # all of them, before any is waited for
            for guest in self._guests:
                guest.close()
            self._guests.clear()


def process_bytes(pid: int, image: Path) -> int:
    """Proportional set size of a process, in bytes, without BPF maps, which are the kernel's memory and guest RAM, and
    without the disk's image, which is the page cache's."""
    left_out = "anon_inode:bpf-map", os.path.realpath(image)
    return proportional_bytes(pid, lambda _size, of: not of.endswith(left_out))


def kernel_bytes(pid: int) -> int:
    """What the kernel tells that it has for a process: BPF maps and programs (bpf(2) has them as descriptors, and
    /proc/PID/fdinfo their `memlock`, in bytes), page tables (proc_pid_status(5): VmPTE, in KiB) and stacks of threads.
    KVM's own is not told, nor what a ring or a file takes; maps that all VMs share count for each, 0.1 MiB."""
    bpf: dict[str, int] = {}        # several descriptors may be of one
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        for kind in ("map_id", "prog_id"):
            if kind in fields:
                bpf[kind + fields[kind]] = int(fields.get("memlock", 0))
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(bpf.values()) + (int(status["VmPTE"].split()[0]) << 10) + int(status["Threads"]) * STACK_BYTES
