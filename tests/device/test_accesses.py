"""Accesses that are not of one whole register: split and merged, or refused, and the same in every mode."""

import logging
import sys
import threading

import pytest

from tools.driver import BlkDriver
from vmm.device.register_device import RegisterDevice
from vmm.devmodel.exit_path import Bus, Verdict
from vmm.devmodel.schema import EXACT, NOTIFY, POSTED, RO, W1C, WO, Device, reg, u8, u16, u32, u64
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.sync._shared import lib

BASE = 0xd0000000


class Split(Device, id=0, version=1):
    """Registers beside each other; no specification but this file."""

    first = reg(0x00, u32, "posted", takes=POSTED, reset=0x11111111)
    second = reg(0x04, u32, "posted", takes=POSTED, reset=0x22222222)
    wide = reg(0x08, u64, "posted", takes=POSTED)
    plain = reg(0x10, u32, "userspace's", reset=0xaabbccdd)
    fixed = reg(0x14, u32, "read only", access=RO, reset=0x55555555)
    bits = reg(0x18, u32, "write one to clear", access=W1C, reset=0xffffffff)
    posted_bits = reg(0x1c, u32, "write one to clear, posted", access=W1C, takes=POSTED, reset=0xffffffff)
    doorbell = reg(0x20, u32, "rings", access=WO, takes=NOTIFY)
    bell = reg(0x24, u16, "rings too", access=WO, takes=NOTIFY)
    small = reg(0x27, u8, "userspace's, after a byte of nothing")


class Exact(Device, id=0, version=1, widths=EXACT):
    """The same, for a device that wants each register written whole."""

    first = reg(0x00, u32, "posted", takes=POSTED, reset=0x11111111)
    second = reg(0x04, u32, "userspace's", reset=0x22222222)
    bell = reg(0x08, u32, "rings", access=WO, takes=NOTIFY)


class Counted(Device, id=0, version=1):
    """Reads that have an effect, so that all of them leave the guest."""

    reads = reg(0x00, u32, "reads so far", access=RO, read_effect=True)
    mark = reg(0x04, u32, "a value", access=RO, reset=0x12345678)
    high = reg(0x08, u64, "its lower half is the reads so far", access=RO, read_effect=True)


class CountedExact(Device, id=0, version=1, widths=EXACT):
    """The same, whole registers only."""

    reads = reg(0x00, u32, "reads so far", access=RO, read_effect=True)


class Witness(RegisterDevice):
    """Notes every doorbell."""

    schema = Split

    def __init__(self, name="device"):
        super().__init__(name)
        self.rung, self.count = [], 0

    def on_write_bell(self, value):
        self.rung.append(("bell", value))

    def on_write_doorbell(self, value):
        self.rung.append(("doorbell", value))


class ExactWitness(RegisterDevice):
    schema = Exact

    def __init__(self, name="device"):
        super().__init__(name)
        self.rung = []

    def on_write_bell(self, value):
        self.rung.append(value)


class CountedDevice(RegisterDevice):
    schema = Counted
    count = 0

    def on_read_reads(self):
        self.count += 1
        return self.count

    def on_read_high(self):
        self.count += 1
        return 0xfeed0000_00000000 | self.count


class CountedExactDevice(RegisterDevice):
    schema = CountedExact
    count = 0

    def on_read_reads(self):
        self.count += 1
        return self.count


@pytest.fixture(params=["off", "host"])
def made(request):
    """Makes a machine with this device."""
    machines = []

    def make(device):
        machines.append(Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((device, request.param),)))
        return machines[-1]
    yield make
    for machine in machines:
        machine.close()


def write(machine, offset, width, value):
    return machine.guest_write(Bus.MMIO, BASE + offset, width, value)


def read(machine, offset, width):
    return machine.guest_read(Bus.MMIO, BASE + offset, width)


@pytest.mark.parametrize("offset, width, value, becomes", [
    (0x00, 8, 0x0203040506070809, {"first": 0x06070809, "second": 0x02030405}),
    (0x02, 4, 0x0203_0405, {"first": 0x04051111, "second": 0x22220203}),
    (0x01, 1, 0xee, {"first": 0x1111ee11}),
    (0x08, 4, 0x01020304, {"wide": 0x01020304}),
    (0x0c, 4, 0x01020304, {"wide": 0x01020304_00000000}),
    (0x12, 2, 0x1122, {"plain": 0x1122ccdd}),
    (0x10, 8, 0x0102030405060708, {"plain": 0x05060708, "fixed": 0x55555555}),
    (0x19, 1, 0xff, {"bits": 0xffff00ff}),
    (0x1e, 2, 0x00ff, {"posted_bits": 0xff00ffff}),
    (0x18, 8, 0x0000000f_000000f0, {"bits": 0xffffff0f, "posted_bits": 0xfffffff0}),
    (0x26, 2, 0x1234, {"small": 0x12}),
    (0x24, 4, 0x12345678, {"small": 0x12}),
])
def test_split_and_merged(made, offset, width, value, becomes):
    device = Witness()
    before = {name: r.reset for name, r in device.layout.registers.items()}
    machine = made(device)
    assert write(machine, offset, width, value) == Verdict.TO_USER
    assert {name: getattr(device.page, name) for name in before} == {**before, **becomes}


@pytest.mark.parametrize("offset, width, value, rung", [
    (0x20, 8, 0x0000_0007_0000_0005, [("doorbell", 5), ("bell", 7)]),
    (0x20, 1, 5, [("doorbell", 5)]), (0x21, 1, 5, [("doorbell", 0x500)]),
    (0x24, 4, 0x00010002, [("bell", 2)]), (0x25, 1, 1, [("bell", 0x100)])])
def test_doorbells_are_rung_in_order(made, offset, width, value, rung):
    device = Witness()
    write(made(device), offset, width, value)
    assert device.rung == rung


@pytest.mark.parametrize("offset, width", [(0x00, 8), (0x00, 1), (0x02, 2), (0x06, 4), (0x04, 2), (0x08, 1), (0x04, 8)])
def test_exact_refuses_once_aloud(made, caplog, offset, width):
    device = ExactWitness()
    machine = made(device)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            write(machine, offset, width, (1 << 8 * width) - 1)
    assert (device.page.first, device.page.second, device.rung) == (0x11111111, 0x22222222, [])
    assert [record.message for record in caplog.records] == [
        f"device: a write of {width} bytes at {offset:#x}; wanted one of a whole register, as Exact has widths=EXACT"]


def test_whole_registers_of_an_exact_device(made):
    device = ExactWitness()
    machine = made(device)
    for offset in (0, 4, 8):
        write(machine, offset, 4, 7)
    assert (device.page.first, device.page.second, device.rung) == (7, 7, [7])


def test_a_write_of_nothing_is_told_once(made, caplog):
    machine = made(Witness())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            write(machine, 0x100, 4, 1)
            write(machine, 0x104, 4, 1)
    assert [record.message for record in caplog.records] == [
        f"device: a write of 4 bytes at {offset:#x}, where there is no register" for offset in (0x100, 0x104)]


def test_reads_are_split_and_merged(made):
    device = CountedDevice("device")
    machine = made(device)
    assert read(machine, 0x00, 4) == 1
    assert read(machine, 0x00, 8) == 0x12345678_00000002
    assert read(machine, 0x00, 1) == 3 and read(machine, 0x02, 2) == 0 and device.count == 4
    assert read(machine, 0x02, 4) == 0x56780000 and device.count == 5
    assert read(machine, 0x06, 4) == 0x0006_1234
    assert read(machine, 0x0c, 4) == 0xfeed0000 and read(machine, 0x0e, 2) == 0xfeed and device.count == 8
    assert read(machine, 0x100, 4) == 0 and read(machine, 0x05, 1) == 0x56


def test_reads_of_an_exact_device(made, caplog):
    device = CountedExactDevice("device")
    machine = made(device)
    with caplog.at_level(logging.WARNING):
        assert read(machine, 0, 8) == 2**64 - 1 and read(machine, 0, 1) == 0xff and read(machine, 1, 1) == 0xff
        assert read(machine, 0, 1) == 0xff
    assert device.count == 0 and read(machine, 0, 4) == 1
    assert len(caplog.records) == 3


class Pair(Device, id=0, version=1):
    """Two registers that userspace takes, and bits that a handler sets; no specification but this file."""

    first = reg(0x00, u32, "one half")
    second = reg(0x04, u32, "the other half")
    bits = reg(0x08, u32, "write one to clear", access=W1C)


class PairDevice(RegisterDevice):
    """Notes which holding of the device each write was in."""

    schema = Pair

    def __init__(self):
        super().__init__("pair")
        self.held = []

    def on_write_first(self, value):
        self.held.append(self.state.control.ownership.generation)
    on_write_second = on_write_first


def test_a_split_write_is_done_in_one_holding(made):
    """No handler comes in between its parts."""
    device = PairDevice()
    write(made(device), 0, 8, 1)
    first, second = device.held
    assert first == second


def test_bits_are_cleared_with_the_device_held():
    """A handler that has the device to itself sets others with plain loads and stores."""
    device = PairDevice()
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((device, "host"),)) as machine:
        before = device.state.control.ownership.generation
        write(machine, 8, 4, 1)
        assert device.state.control.ownership.generation == before + 2      # taken, and given back


def test_bits_are_cleared_by_an_atomic(made):
    """Against a handler that has no lock, and sets others by an atomic: played by a thread here."""
    device, stop = PairDevice(), threading.Event()
    machine, interval = made(device), sys.getswitchinterval()

    def clear_none():
        while not stop.is_set():
            write(machine, 8, 4, 0)
    thread = threading.Thread(target=clear_none)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for i in range(300_000):
            lib.fetch_or32(device.place.page + 8, 1 << i % 32)
            assert device.page.bits >> i % 32 & 1
            lib.fetch_and32(device.place.page + 8, ~(1 << i % 32) & 0xffffffff)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_virtio_transports_want_whole_registers(driver, caplog):
    """VIRTIO 1.2, 4.2.2.2: 32 bits wide and aligned; device configuration is read in any width."""
    assert isinstance(driver, BlkDriver)
    device, before = driver.device, driver.registers.read("status")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            driver.machine.guest_write(Bus.MMIO, device.place.base + 0x70, 1, 0)
    assert driver.registers.read("status") == before and len(caplog.records) == 1
    capacity = driver.machine.guest_read(Bus.MMIO, device.place.base + 0x100, 8)
    assert capacity == sum(driver.machine.guest_read(Bus.MMIO, device.place.base + 0x100 + i, 1) << 8 * i
                           for i in range(8)) > 0
