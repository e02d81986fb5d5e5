"""Disk images: what is refused, and what comes of errors."""

import os
import shutil
import subprocess

import pytest

from vmm.devices.disk_image import DiskError, DiskImage


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
