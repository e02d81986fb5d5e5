"""Disk images: what is refused, and what comes of errors."""

import mmap
import os
import shutil
import subprocess
from itertools import pairwise
from unittest import mock

import pytest

from vmm.devices import disk_use
from vmm.devices.disk_image import BOUNCE, DiskError, DiskImage
from vmm.errors import UserError
from vmm.machine.config import DiskConfig, MachineConfig, NicConfig
from vmm.machine.machine import Machine


def test_image_is_locked(image):
    first = DiskImage(image)
    with pytest.raises(DiskError, match="in use by another process"):
        DiskImage(image)
    first.close()
    readers = [DiskImage(image, read_only=True) for _ in range(2)]
    with pytest.raises(DiskError):
        DiskImage(image)
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("content, says", [(b"", "a multiple of 512, and some"), (b"x" * 100, "100 bytes")])
def test_image_of_odd_size(tmp_path, content, says):
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(DiskError, match=says):
        DiskImage(tmp_path / "odd")


def test_image_that_is_none(tmp_path):
    with pytest.raises(DiskError, match="No such file"):
        DiskImage(tmp_path / "none")
    with pytest.raises(DiskError, match="neither a file"):
        DiskImage(tmp_path, read_only=True)
    with pytest.raises(DiskError, match="neither a file nor a block device"):
        DiskImage("/dev/null")


def test_truncated_while_open(image):
    disk = DiskImage(image)
    os.truncate(image, 1024)
    with pytest.raises(OSError, match="512 of 1024 bytes"):
        disk.read([memoryview(bytearray(1024))], 512)
    disk.close()


def test_direct(image):
    try:
        disk = DiskImage(image, cache="none")
    except DiskError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    assert disk.address == 0
    disk.write([memoryview(b"a" * 700), memoryview(b"b" * 324)], 3 * 512)
    parts = [memoryview(bytearray(500)), memoryview(bytearray(1036))]
    disk.read(parts, 2 * 512)
    assert b"".join(map(bytes, parts)) == (2).to_bytes(8, "little") * 64 + b"a" * 700 + b"b" * 324
    disk.close()


def test_direct_in_pieces(tmp_path):
    """A transfer that is larger than what is bounced at once, in buffers that end anywhere."""
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(BOUNCE * 3))
    before = path.read_bytes()
    try:
        disk = DiskImage(path, cache="none")
    except DiskError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    data = os.urandom(2 * BOUNCE + 1024)
    cuts = [0, 700, 1 << 16, BOUNCE - 1, BOUNCE + 513, 2 * BOUNCE + 1, len(data)]
    disk.write([memoryview(data)[a:b] for a, b in pairwise(cuts)], 512)
    assert path.read_bytes() == before[:512] + data + before[512 + len(data):]
    parts = [memoryview(bytearray(b - a)) for a, b in pairwise(cuts)]
    disk.read(parts, 512)
    assert b"".join(parts) == data
    disk.close()


def test_direct_takes_little_memory(tmp_path):
    """A read of the whole disk into one page, again and again, costs one piece of bounce memory."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 64 * BOUNCE)
    try:
        disk = DiskImage(path, cache="none")
    except DiskError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    page = memoryview(bytearray(4096))
    with mock.patch("mmap.mmap", wraps=mmap.mmap) as mapped:
        disk.read([page] * (disk.size // 4096), 0)
    assert all(call.args[1] <= BOUNCE + 4096 for call in mapped.call_args_list)
    disk.close()


@pytest.fixture
def loop_device(image):
    """A block device over the image, if this machine lets us have one."""
    if os.getuid() != 0 or not shutil.which("losetup"):
        pytest.skip("needs root and losetup")
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


@pytest.mark.parametrize("mode", ["off", "host"])
@pytest.mark.parametrize("cache", ["writeback", "writethrough", "none"])
def test_block_device(loop_device, image, machine_of, mode, cache):
    from tools.driver import BlkDriver
    with machine_of(loop_device, mode, cache=cache) as machine:
        driver = BlkDriver(machine, machine.devices[0])
        assert machine.devices[0].config.capacity == 4096 and machine.devices[0].config.blk_size in (512, 4096)
        driver.write(100, b"block" + bytes(507))
        driver.flush()
        assert driver.read(100, 2) == b"block" + bytes(507) + (101).to_bytes(8, "little") * 64
        with pytest.raises(OSError):
            driver.read(4096, 1)
    assert image.read_bytes()[100 * 512:][:5] == b"block"


def test_io_errors_become_statuses(image, machine_of):
    from tools.driver import BlkDriver
    machine = machine_of(image, "off")
    driver = BlkDriver(machine, machine.devices[0])

    def full(*_):
        raise OSError(28, "No space left on device")
    machine.devices[0].image.write = full
    with pytest.raises(OSError) as error:
        driver.write(0, b"x" * 512)
    assert error.value.errno == 1       # VIRTIO_BLK_S_IOERR


@pytest.mark.parametrize("at, magic, name", [
    (0, b"QFI\xfb\0\0\0\3", "qcow2"), (0, b"QED\0", "qed"), (0, b"KDMV", "vmdk"), (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"), (0x40, b"\x7f\x10\xda\xbe", "vdi"), (0, b"conectix", "vpc")])
def test_other_formats_are_refused(tmp_path, at, magic, name):
    path = tmp_path / "image"
    path.write_bytes(bytes(at) + magic + bytes(8192 - at - len(magic)))
    with pytest.raises(DiskError, match=f"a {name} image; wanted a raw one .qemu-img convert -f {name}"):
        DiskImage(path, read_only=True)
    DiskImage(path, raw=True).close()


def test_image_behind_a_loop_device(loop_device, image):
    """The host has it in use; reading it is harmless."""
    with pytest.raises(DiskError, match=f"in use by this host .{loop_device}.; wanted it out of use"):
        DiskImage(image)
    DiskImage(image, read_only=True).close()


def test_mounted_device(loop_device, image, tmp_path):
    os.truncate(image, 4 << 20)
    subprocess.run(["losetup", "--set-capacity", loop_device], check=True)
    folder = tmp_path / "mounted"
    folder.mkdir()
    path = f"{os.environ['PATH']}:/sbin:/usr/sbin"
    subprocess.run(["mkfs.ext4", "-q", loop_device], check=True, env={**os.environ, "PATH": path})
    done = subprocess.run(["mount", loop_device, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")
    try:
        with pytest.raises(DiskError, match=f"mounted at {folder}"):
            DiskImage(loop_device)
        DiskImage(loop_device, read_only=True).close()
    finally:
        subprocess.run(["umount", folder], check=True)
    DiskImage(loop_device).close()


def test_swap(image, tmp_path, monkeypatch):
    swaps = tmp_path / "swaps"
    swaps.write_text(f"Filename\tType\tSize\tUsed\tPriority\n{image}\tfile\t2044\t0\t-2\n")
    monkeypatch.setattr(disk_use, "SWAPS", str(swaps))
    with pytest.raises(DiskError, match="in use by this host .swap"):
        DiskImage(image)


def test_given_twice(image, machine_of, tmp_path):
    (tmp_path / "link").symlink_to(image)
    twice = [DiskConfig(image, read_only=True, offload="off"), DiskConfig(tmp_path / "link", offload="off")]
    with pytest.raises(UserError, match="--disk .*link: given twice"):
        Machine(MachineConfig(memory=4 << 20, serial="null", kvm=False, disks=twice))
    twice[1].read_only = True
    Machine(MachineConfig(memory=4 << 20, serial="null", kvm=False, disks=twice)).close()
    cards = [NicConfig("tap0"), NicConfig("tap0")]
    with pytest.raises(UserError, match="--net tap=tap0: given twice"):
        Machine(MachineConfig(memory=4 << 20, serial="null", kvm=False, nets=cards))


def test_discards_are_offered_where_there_are_some(image, machine_of, monkeypatch):
    reader = DiskImage(image, read_only=True)
    assert reader.discards is False
    reader.close()
    before = image.read_bytes()
    device = machine_of(image).devices[0]
    offered = bool(device.offered & 1 << 13)
    assert offered == device.image.discards and bool(device.config.max_discard_sectors) == offered
    assert image.read_bytes() == before and image.stat().st_size == len(before)


def test_discards_are_not_offered_elsewhere(image, machine_of, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")
    monkeypatch.setattr(DiskImage, "_allocate", refused)
    device = machine_of(image).devices[0]
    assert not device.offered & 1 << 13 and device.offered & 1 << 14
    assert device.config.max_discard_sectors == 0 and device.config.write_zeroes_may_unmap == 0
