"""One run of a guest that times block requests, over a disk of ours or of QEMU's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from ..devices.probe import ProbeDevice
from ..devmodel.devices.probe import Probe
from ..machine.config import DiskConfig, MachineConfig
from ..paths import BUILD
from . import measure
from .measure import MEMORY, TIMEOUT_S, Sample
from .rows import ALWAYS, BlkCase
from .storage import Storage

QEMU_MODES = ["qemu-threads", "qemu-io_uring"]      # by what it does its I/O


def run_once(mode: str, on: Storage, case: BlkCase, **loop: int) -> tuple[Sample, str]:
    """What a run of the guest took, ticks aside, and what it printed.  In modes of ours it also goes round a doorbell
    that is claimed and ignored, unless its driver need not ring."""
    if mode in QEMU_MODES:
        before = measure.children_ns()
        text = said(mode, on, case, **loop)
        return Sample(0, cpu_ns=measure.children_ns() - before), text
    if case.notify != ALWAYS:
        return measure.run_machine(_config(mode, on, case, case.cmdline(**loop)))
    probe, fds, address = ProbeDevice("probe"), [], 0xd0001000 + Probe.claimed.offset
    config = _config(mode, on, case, case.cmdline(**loop, floor=address))
    try:
        return measure.run_machine(config, ((probe, "off"),),
                                   lambda machine: fds.append(measure.claim(machine, address)))
    finally:
        for fd in fds:
            os.close(fd)


def said(mode: str, on: Storage, case: BlkCase, **loop: int) -> str:
    """What the guest prints."""
    cmdline = case.cmdline(**loop)
    if mode not in QEMU_MODES:
        return measure.run_machine(_config(mode, on, case, cmdline))[1]
    with tempfile.NamedTemporaryFile() as output:
        command = measure.qemu_command(_guest(case), cmdline, output.name, *_qemu_disk(mode, on, case))
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S)
        measure.check_qemu(done.returncode, done.stderr)
        return Path(output.name).read_text()


def _guest(case: BlkCase) -> str:
    return "vcpus.elf" if case.vcpus else "measure.elf"


def _config(mode: str, on: Storage, case: BlkCase, cmdline: str) -> MachineConfig:
    number = case.vcpus or 1
    disk = DiskConfig(on.image, offload=mode, cache=on.cache, queues=number)
    return MachineConfig(BUILD / _guest(case), MEMORY, cpus=number, disks=[disk], cmdline=cmdline)


def _qemu_disk(mode: str, on: Storage, case: BlkCase) -> list[str]:
    """QEMU's virtio-blk, served by an iothread, all of its queues."""
    driver = "host_device" if on.image.is_block_device() else "file"
    direct = "on" if on.cache == "none" else "off"
    number = case.vcpus or 1
    disk = (f"driver=raw,node-name=disk,cache.direct={direct},file.driver={driver},file.filename={on.image},"
            f"file.aio={mode.removeprefix('qemu-')},file.cache.direct={direct}")
    return ["-smp", str(number), "-object", "iothread,id=io", "-blockdev", disk,
            "-device", f"virtio-blk-device,drive=disk,iothread=io,queue-size=256,num-queues={number}"]
