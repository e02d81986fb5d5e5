"""One run of the guest that times block requests, over a disk of ours or of QEMU's."""

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
from .storage import Storage

GUEST = "measure.elf"


def run_once(mode: str, storage: Storage, cmdline: str, floor: bool) -> Sample:
    """What one run took, in a mode of ours or of QEMU's; with `floor`, of ours, also beside a doorbell that is
    claimed and ignored."""
    if not mode.startswith("qemu-"):
        return _run_ours(mode, storage, cmdline, floor)
    before = measure.children_ns()
    text = said(mode, storage, cmdline)
    return Sample(**measure.counted(text), cpu_ns=measure.children_ns() - before)


def _run_ours(mode: str, storage: Storage, cmdline: str, floor: bool) -> Sample:
    probe, fds, address = ProbeDevice("probe"), [], 0xd0001000 + Probe.claimed.offset
    config = _config(mode, storage, f"{cmdline} floor={address:#x}" if floor else cmdline)
    try:
        return measure.run(config, ((probe, "off"),), lambda machine: fds.append(measure.claim(machine, address)))
    finally:
        for fd in fds:
            os.close(fd)


def said(mode: str, storage: Storage, cmdline: str) -> str:
    """What the guest prints."""
    if not mode.startswith("qemu-"):
        return measure.run_machine(_config(mode, storage, cmdline))[1]
    with tempfile.NamedTemporaryFile() as output:
        command = measure.qemu_command(GUEST, cmdline, output.name, *_qemu_disk(mode.removeprefix("qemu-"), storage))
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S)
        measure.check_qemu(done.returncode, done.stderr)
        return Path(output.name).read_text()


def _config(mode: str, storage: Storage, cmdline: str) -> MachineConfig:
    disk = DiskConfig(storage.image, offload=mode, cache=storage.cache)
    return MachineConfig(BUILD / GUEST, MEMORY, disks=[disk], cmdline=cmdline)


def _qemu_disk(aio: str, storage: Storage) -> list[str]:
    """QEMU's virtio-blk, served by an iothread."""
    driver = "host_device" if storage.image.is_block_device() else "file"
    direct = "on" if storage.cache == "none" else "off"
    disk = (f"driver=raw,node-name=disk,cache.direct={direct},file.driver={driver},file.filename={storage.image},"
            f"file.aio={aio},file.cache.direct={direct}")
    return ["-object", "iothread,id=io", "-blockdev", disk,
            "-device", "virtio-blk-device,drive=disk,iothread=io,queue-size=256"]
