"""A consistent read of a disk's whole shadow, four queues of it, while a guest keeps one of them busy: from Python in
the VM's own process, and from another.

    python -m vmm.bench.shadow PID READS        the latter, of the VM in process PID
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from ..devmodel.view import address_of
from ..errors import UserError
from ..machine.config import DiskConfig, MachineConfig
from ..paths import BUILD
from ..sync.shadow import Copies, Shadow, copies_of
from ..sync.signals import temporary_folder
from ..top import listing, process
from .measure import MEMORY, TIMEOUT_S, run_machine
from .rows import spread

QUEUES = 4
IMAGE_BYTES = 8 << 20
GUEST = "bytes=512 batches=1000000000"      # until it is stopped
OPS = ("copy", "decoded", "beside", "beside-decoded")


def rows(modes: list[str], repeat: int, quick: bool, progress: Callable) -> list[dict]:
    """A row for each way to read and each mode that the disk is in meanwhile."""
    reads, taken = 300 if quick else 3000, {mode: [] for mode in modes}
    with temporary_folder("splitvmm-bench-") as directory, progress() as shown:
        image = Path(directory) / "disk"
        image.write_bytes(bytes(IMAGE_BYTES))
        task = shown.add_task("shadow", total=repeat * len(modes))
        for _ in range(repeat):
            for mode in modes:
                shown.update(task, description=f"shadow {mode}")
                taken[mode].append(_once(image, mode, reads))
                shown.advance(task)
    return [_row(op, mode, reads, [one[op] for one in taken[mode]]) for op in OPS for mode in modes]


def _once(image: Path, mode: str, reads: int) -> dict[str, dict]:
    found: dict[str, dict] = {}

    def read(machine) -> None:
        try:
            _wait_until_served(machine, mode)
            found.update(_own(machine, reads))
            found.update(_beside(reads))
        finally:
            machine.stop(0)
    run_machine(MachineConfig(BUILD / "measure.elf", MEMORY, cmdline=GUEST, disks=[
        DiskConfig(image, offload=mode, queues=QUEUES)]), during=read)
    return found


def _wait_until_served(machine, mode: str) -> None:
    """The queue is the half's that is to have it, and requests come."""
    state, deadline = machine.devices[0].state.queue[0], time.monotonic() + TIMEOUT_S
    while not (state.user.handled if mode == "off" else state.entry.handled):
        if time.monotonic() > deadline:
            raise UserError(f"the measuring guest asked for nothing in {TIMEOUT_S} s; wanted requests")
        time.sleep(0.01)


def _own(machine, reads: int) -> dict[str, dict]:
    device = machine.devices[0]
    shadow = Shadow(device.name, QUEUES, device.layout.state.field("queue").offset)
    copies = copies_of(address_of(device.state), shadow.size)
    floor_ns = _median_ns(copies, reads) / 3        # they are alike
    return _both(shadow, copies, reads, floor_ns, "copy", "decoded")


def _both(shadow: Shadow, copies: Copies, reads: int, floor_ns: float, copy: str, decoded: str) -> dict[str, dict]:
    """Read alone, and every queue's counters decoded as well."""
    def decode() -> None:
        data = shadow.read(copies)
        for number in range(1, QUEUES + 1):
            shadow.counters(data, number)
    return {copy: _timed(lambda: shadow.read(copies), shadow, reads, floor_ns),
            decoded: _timed(decode, shadow, reads, floor_ns)}


def _timed(read: Callable[[], object], shadow: Shadow, reads: int, floor_ns: float) -> dict:
    """The median of so many reads, which looks again count in; and how many looks again there were."""
    retries, cpu, took = 0, time.thread_time_ns(), []
    for _ in range(reads):
        shadow.retries = 0
        began = time.perf_counter_ns()
        read()
        took.append(time.perf_counter_ns() - began)
        retries += shadow.retries
    return {"ns": median(took), "floor_ns": floor_ns, "bytes": shadow.size, "retries": retries,
            "cpu_ns": (time.thread_time_ns() - cpu) / reads}


def _median_ns(call: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - began)
    return median(took)


def _beside(reads: int) -> dict[str, dict]:
    done = subprocess.run([sys.executable, "-m", "vmm.bench.shadow", str(os.getpid()), str(reads)],
                          capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise UserError(f"reading from another process: {done.stderr.strip()[-300:]!r}; wanted it to be permitted")
    return json.loads(done.stdout)


def _row(op: str, mode: str, reads: int, found: list[dict]) -> dict:
    return {"bench": "shadow", "mode": mode, "op": op, "pattern": None, "bytes": found[0]["bytes"], "depth": 1,
            "wait": "poll", "ring": 0, "requests": reads, **spread([one["ns"] for one in found]),
            "floor_ns": round(median(one["floor_ns"] for one in found), 1),
            "cpu_ns_per_request": round(median(one["cpu_ns"] for one in found), 1), "cpu_vcpu_ns": 0.0,
            "cpu_ring_ns": 0.0, "exits_to_user": 0, "handled": reads, "declined": 0, "why": "",
            "retries": round(median(one["retries"] for one in found))}


def main(arguments: list[str]) -> int:
    pid, reads = map(int, arguments)
    vm = listing.listed(pid, process.directories(pid)[0])
    disk = vm.devices[0]
    one_copy = process.Places(pid, [(disk.state, disk.shadow.size)])
    json.dump(_both(disk.shadow, process.copies_of(pid, disk.state, disk.shadow.size), reads,
                    _median_ns(one_copy.read, reads), "beside", "beside-decoded"), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
