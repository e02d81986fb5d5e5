"""Partial emulation: a guest does the same with it as without, in each mode of its devices."""

import struct
import zlib

import pytest

from tests.guest.test_guests import adler_in, expected_area, run
from vmm.devices.probe import ProbeLinesDevice
from vmm.executors.state import blank, write_all
from vmm.machine.config import DiskConfig, ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD

pytest.importorskip("unicorn")
pytest.importorskip("capstone")
from vmm.executors.instructions import is_segmented

DANCES = {"writes": 40, "polling": 4, "string": 2, "bits": 2}
BLOCKS = [1, 3, 64, None]


class LinesDevice(ProbeLinesDevice):
    """Remembers the accesses."""

    def __init__(self):
        super().__init__("lines")
        self.accesses = []

    def on_read_status(self):
        self.accesses.append("read")
        return len(self.accesses)

    def write(self, offset, width, value):
        self.accesses.append((offset, width, value))
        super().write(offset, width, value)


def danced(tmp_path, dance, executor):
    """What the guest printed but for times, what the device saw, and the counters of the partial emulation."""
    device, output = LinesDevice(), tmp_path / "serial"
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial=f"file={output}", executor=executor,
                           cmdline=f"dance={dance} count={DANCES[dance]} base=0xd0000000 port=0x80")
    with Machine(config, ((device, "off"),)) as machine:
        status = machine.run(60)
        exits = sum(thread.exits for thread in machine.threads)
        counters = machine.partial[0].counters() if machine.partial else {}
    return (status, output.read_text().partition("ticks")[0], device.accesses), exits, counters


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("dance", DANCES)
def test_a_driver_that_dances(kvm, tmp_path, dance, blocks):
    """The device is told the same accesses in the same order, however few of them exit."""
    plain, exits, _ = danced(tmp_path, dance, ExecutorConfig())
    emulated, fewer, counters = danced(tmp_path, dance, ExecutorConfig("auto", blocks))
    assert emulated == plain
    if blocks != 1:     # a loop of one access takes as many blocks
        assert counters["spared"] > exits / 2 > fewer


@pytest.mark.parametrize("blocks", [2, 50, None])
def test_check(kvm, tmp_path, mode, image, blocks):
    """Every request, cut in every way, with interrupts, and with devices in the kernel half."""
    status, text, _ = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode, queues=3)], "rounds=3",
                          executor=ExecutorConfig("auto", blocks))
    assert status == 0 and "passed" in text, text
    assert image.read_bytes() == expected_area(4096)
    assert adler_in(text) == [zlib.adler32(image.read_bytes())]


def test_two_vcpus(kvm, tmp_path, mode, image):
    """Each with an emulator of its own; neither runs the other's atomic instructions."""
    status, text, _ = run(tmp_path, "smp.elf", [DiskConfig(image, offload=mode, queues=2)], "rounds=200", cpus=2,
                          executor=ExecutorConfig("auto", 20))
    assert status == 0, text


def test_an_error_of_a_device_ends_the_machine(kvm, tmp_path):
    class Broken(LinesDevice):
        def on_read_status(self):
            if len(self.accesses) == 20:
                raise ZeroDivisionError("as asked")
            return super().on_read_status()
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=ExecutorConfig("auto", 1000),
                           cmdline="dance=polling count=100 base=0xd0000000")
    device = Broken()
    with Machine(config, ((device, "off"),)) as machine, pytest.raises(ZeroDivisionError, match="as asked"):
        machine.run(60)
    assert len(device.accesses) < 100       # and the guest did not go on for long


def test_without_blocks_there_is_no_emulator(kvm, tmp_path):
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=ExecutorConfig("auto", 0),
                           cmdline="dance=polling count=1 base=0xd0000000")
    with Machine(config, ((LinesDevice(), "off"),)) as machine:
        assert machine.run(60) == 0 and not machine.partial


# What 32-bit code has and Unicorn does not look at: limits and kinds of segments, single steps

BASE, DEVICE_AT, STACK = 0x100000, 0xd0000000, 0x1f0000
LIMITED, CODE_SELECTOR, FLAT = 0x18, 8, 0x10
DESCRIPTORS = struct.pack("<4Q", 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x0040931800000fff)
TELL = b"\xa3" + DEVICE_AT.to_bytes(4, "little")              # mov %eax, the device
LOAD_DS = b"\x66\xb8%c\x00\x8e\xd8"                          # mov $selector, %ax; mov %eax, %ds
UNSEEN = {"limit": LOAD_DS % LIMITED + b"\xa3\x00\x10\x00\x00" + LOAD_DS % FLAT,
           "kind": b"\x2e\xa3\x00\x00\x18\x00",                # mov %eax, %cs:0x180000
           "divide": b"\xba\xff\xff\xff\xff\xf7\x35\x00\x00\x00\xd0",   # mov $-1, %edx; divl DEVICE_AT
          "trap": b"\x68\x02\x01\x00\x00\x9d\x40\x40\x40"}    # push $0x102; popf; inc %eax, three times


def image(code):
    """A Multiboot kernel that tells the device of it, does `code`, and tells it again; an exception's handler tells its
    vector and where that was."""
    magic, flags = 0x1badb002, 1 << 16
    header = struct.pack("<8I", magic, flags, -(magic + flags) & 0xffffffff, BASE, BASE, 0, 0, BASE + 0x400)
    body, tables = bytearray(header.ljust(0x20, b"\0") + DESCRIPTORS), 0x100
    body += struct.pack("<HI", len(DESCRIPTORS) - 1, BASE + 0x20) + struct.pack("<HI", 8 * 32 - 1, BASE + tables)
    body = body.ljust(tables, b"\0")
    for vector in range(32):
        at = BASE + 0x200 + 16 * vector
        body += struct.pack("<HHHH", at & 0xffff, CODE_SELECTOR, 0x8e00, at >> 16)
    for vector in range(32):    # push its number; jmp to the handler
        body += (b"\x6a%c\xe9" % vector + struct.pack("<i", 0x600 - (0x200 + 16 * vector + 7))).ljust(16, b"\0")
    body += b"\x0f\x01\x15" + struct.pack("<I", BASE + 0x40) + b"\x0f\x01\x1d" + struct.pack("<I", BASE + 0x46)
    body += b"\xea" + struct.pack("<IH", BASE + 0x415, CODE_SELECTOR) + LOAD_DS % FLAT + b"\x8e\xd0\x8e\xc0\xbc"
    body += struct.pack("<I", STACK) + TELL * 2 + code + TELL + END
    return bytes(body.ljust(0x600, b"\0") + LOAD_DS % FLAT + (b"\x58" + TELL) * 3 + END)


END = b"\x66\xba\x01\x05\xee\xeb\xfe"                         # mov $0x501, %dx; out; jmp .


@pytest.mark.parametrize("what", UNSEEN)
def test_what_unicorn_does_not_look_at(kvm, tmp_path, what):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(image(UNSEEN[what]))
    told = []
    for executor in (ExecutorConfig(), ExecutorConfig("auto", 64)):
        device = LinesDevice()
        with Machine(MachineConfig(kernel, 16 << 20, serial="null", executor=executor), ((device, "off"),)) as machine:
            machine.run(20)
        told.append(device.accesses)
    plain, emulated = told
    assert len(plain) >= 3 and emulated == plain


@pytest.mark.parametrize("name, changed, segmented", [
    ("ds", {"limit": 0xfffff}, True), ("ss", {"access": 0xc097}, True), ("es", {"access": 0xc091}, True),
    ("es", {"access": 0x1c093}, True), ("cs", {"limit": 0xffff}, True), ("gs", {"access": 0x10000}, False),
    ("cs", {"access": 0xc09b}, False)])
def test_what_of_segments_counts(name, changed, segmented):
    state = blank()
    write_all(state, {"segments": {each: {"limit": 0xffffffff, "access": 0xc093} for each in ("cs", "ds", "es", "ss")}})
    write_all(state, {"segments": {name: changed}})
    assert is_segmented(state) == segmented
