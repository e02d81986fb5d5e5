"""Bus, memory, serial port, disk image, options: each alone."""

import logging
import os
import shutil
import subprocess

import pytest

from vmm.bus import AddressSpace, BusOverlap
from vmm.devmodel.exit_path import Bus
from vmm.disk_image import DiskError, DiskImage
from vmm.errors import UserError
from vmm.interrupts import LEVEL, MASKED, msi_of
from vmm.addresses import HIGH_START, LOW_END
from vmm.memory import GuestAddressError, GuestMemory
from vmm import options
from vmm.serial import Serial


class Recorder:
    def __init__(self):
        self.seen = []

    def write(self, offset, width, value):
        self.seen.append((offset, width, value))

    def read(self, offset, width):
        return offset


# Bus

@pytest.fixture
def space():
    space = AddressSpace(Bus.MMIO)
    for base in (0x3000, 0x1000):
        space.add(base, 0x1000, Recorder(), f"at {base:#x}")
    return space


def test_a_device_is_told_an_offset(space):
    space.write(0x3010, 4, 7)
    assert space.find(0x3000, 1)[0].seen == [(0x10, 4, 7)]
    assert space.read(0x1ffc, 4) == 0xffc


@pytest.mark.parametrize("base, size", [(0x0fff, 2), (0x1000, 1), (0x1fff, 1), (0x1fff, 0x2000), (0, 0x10000)])
def test_overlap(space, base, size):
    with pytest.raises(BusOverlap, match="has 0x"):
        space.add(base, size, Recorder(), "late")


def test_neighbours_do_not_overlap(space):
    space.add(0x2000, 0x1000, Recorder(), "between")


@pytest.mark.parametrize("address, width", [(0x0fff, 1), (0x1fff, 2), (0x2000, 4), (0x4000, 8)])
def test_what_nobody_claims(space, caplog, address, width):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert space.read(address, width) == (1 << 8 * width) - 1
            space.write(address, width, 1)
    assert len(caplog.records) == 1     # once an address


# Guest memory

def test_memory_bounds():
    memory = GuestMemory(2 << 20)
    memory.write((2 << 20) - 4, b"last")
    assert memory.read((2 << 20) - 4, 4) == b"last"
    for gpa, length in (((2 << 20) - 3, 4), (2 << 20, 1), (2**64 - 1, 2), (-1, 1), (HIGH_START, 1), (LOW_END, 1)):
        with pytest.raises(GuestAddressError):
            memory.read(gpa, length)
    memory.close()


def test_memory_above_the_hole():
    """The largest size is not touched, only reserved: a memfd is sparse."""
    memory = GuestMemory(5 << 30)
    memory.write(LOW_END - 2, b"ab")
    memory.write(HIGH_START, b"cd")
    assert memory.read(LOW_END - 2, 2) == b"ab" and memory.read(HIGH_START, 2) == b"cd"
    with pytest.raises(GuestAddressError):
        memory.read(LOW_END - 1, 2)
    with pytest.raises(GuestAddressError):
        memory.read(HIGH_START + (2 << 30) - 1, 2)
    assert [slot[:2] for slot in memory.slots()] == [(0, LOW_END), (HIGH_START, 2 << 30)]
    memory.close()


@pytest.mark.parametrize("size", [0, 4096, (1 << 20) + 1, 65 << 30])
def test_memory_of_no_use(size):
    with pytest.raises(UserError, match="1 MiB to 64 GiB"):
        GuestMemory(size)


# Serial port

class Raised:
    pulses = 0

    def pulse(self):
        self.pulses += 1


@pytest.fixture
def serial():
    reader, writer = os.pipe()
    port = Serial(writer, Raised())
    port.reader = reader
    yield port
    os.close(reader)
    os.close(writer)


def test_transmit(serial):
    for byte in b"hello\n":
        serial.write(0, 1, byte)
    assert os.read(serial.reader, 100) == b"hello\n"
    assert serial.read(5, 1) == 0x60


def test_receive_and_interrupt(serial):
    serial.write(1, 1, 1)
    serial.receive(b"ab")
    assert serial.line.pulses == 1 and serial.read(2, 1) & 0xf == 4 and serial.read(5, 1) & 1
    assert bytes((serial.read(0, 1), serial.read(0, 1))) == b"ab"
    assert serial.read(2, 1) & 1 and not serial.read(5, 1) & 1


def test_transmitter_empty_interrupt(serial):
    serial.write(1, 1, 2)
    assert serial.line.pulses == 1
    assert serial.read(2, 1) & 0xf == 2 and serial.read(2, 1) & 0xf == 1     # reading clears it


def test_divisor_latch_and_loopback(serial):
    serial.write(3, 1, 0x83)
    serial.write(0, 1, 1)
    serial.write(1, 1, 2)
    assert (serial.read(0, 1), serial.read(1, 1)) == (1, 2)
    serial.write(3, 1, 3)
    serial.write(4, 1, 0x1f)
    serial.write(0, 1, 0x55)
    assert serial.read(0, 1) == 0x55 and serial.read(6, 1) == 0xf0
    serial.write(7, 1, 0xa5)
    assert serial.read(7, 1) == 0xa5


# Interrupts

@pytest.mark.parametrize("entry, msi", [
    (0x40, (0xfee00000, 0, 0x40)),
    (0x41 | 3 << 56, (0xfee03000, 0, 0x41)),
    (0x42 | 1 << 11 | 1 << 8 | 1 << 56, (0xfee0100c, 0, 0x142)),
    (0x40 | MASKED, None), (0x40 | LEVEL, None), (0x400, None),
])
def test_redirection_entry_as_msi(entry, msi):
    assert msi_of(entry) == msi


# Disk images

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


# Options

@pytest.mark.parametrize("text, bytes_", [("1M", 1 << 20), ("4G", 4 << 30), ("512k", 512 << 10), ("4096", 4096)])
def test_sizes(text, bytes_):
    assert options.size(text, "--mem") == bytes_


@pytest.mark.parametrize("text", ["", "M", "1T", "-1", "1.5G", "0x10M"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="wanted a size like"):
        options.size(text, "--mem")


@pytest.mark.parametrize("text, says", [
    ("", "wanted key=value"), ("path", "wanted key=value"), ("offload=on", "wanted path=FILE"),
    ("path=a,path=b", "path given twice"), ("path=a,offlod=on", "unknown key 'offlod'"),
    ("path=a,offload=yes", "wanted on, host, off or auto"), ("path=a,queues=17", "from 1 to 16"),
    ("path=a,queue_size=3", "power of two"), ("path=a,readonly=1", "wanted on or off"),
])
def test_disk_options_that_are_wrong(text, says):
    with pytest.raises(UserError, match=says):
        options.disk(text)


def test_disk_options():
    disk = options.disk("path=a,,b=c,offload=host,readonly=on,queues=4,serial=x")
    assert (str(disk.path), disk.offload, disk.read_only, disk.queues, disk.serial) == ("a,b=c", "host", True, 4, "x")
