"""Disk images: of every size that a file may have, and files that are none."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.driver import BlkDriver
from vmm.devices.disk_image import DiskError, DiskImage
from vmm.devmodel.devices.blk import SECTOR
from vmm.machine.config import DiskConfig

SIZES = [SECTOR, (1 << 32) + SECTOR, (1 << 41) * SECTOR, (1 << 63) - 4096, (1 << 63) - SECTOR]      # bytes
DATA = b"the last sector".ljust(SECTOR, b".")
MEMORY = Path("/dev/shm")       # whose files may be of any size


@pytest.mark.parametrize("size", SIZES)
def test_sizes(machine_with, mode_of_device, size):
    """The last sector is there, and none behind it."""
    if not MEMORY.is_dir():
        pytest.skip("no /dev/shm on this machine")
    path = MEMORY / f"splitvmm-test-{os.getpid()}"
    try:
        path.touch()
        os.truncate(path, size)
        machine = machine_with(memory=4 << 20, disks=[DiskConfig(path, offload=mode_of_device, poll="off")])
        driver, last = BlkDriver(machine, machine.devices[0]), size // SECTOR - 1
        assert machine.devices[0].config.capacity == last + 1
        driver.write(last, DATA)
        assert driver.read(last, 1) == DATA
        with pytest.raises(OSError):
            driver.read(last + 1, 1)
        machine.close()
    finally:
        path.unlink()


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.sampled_from([b"QFI\xfb", b"QED\0", b"KDMV", b"# Disk DescriptorFile", b"vhdxfile", b"conectix"]),
                 st.binary(max_size=0x50)), st.integers(0, 0x500))
def test_contents(tmp_path, head, length):
    """It is a disk of all its sectors, or refused by what it is."""
    path = tmp_path / "image"
    path.write_bytes(head.ljust(length, b"\0"))
    size = path.stat().st_size
    try:
        image = DiskImage(path)
    except DiskError as error:
        assert f"{path}: " in str(error) and ("wanted" in str(error) or "neither" in str(error))
        return
    assert image.size == size and size and not size % SECTOR
    image.close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("cache", ["writeback", "none"])
@pytest.mark.parametrize("what", ["pipe", "socket", "folder", "/dev/zero", "/proc/self/mem", "a" * 300, "missing"])
def test_what_is_no_disk(tmp_path, what, cache, read_only):
    path = tmp_path / what if not what.startswith("/") else Path(what)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif what == "folder":
        path.mkdir()
    with pytest.raises(DiskError, match=r"wanted|neither a file nor a block device"):
        DiskImage(path, read_only, cache)
