"""What a write of each kind of register does, in the Python half and in the native dispatcher."""

import pytest

from vmm.device.register_device import RegisterDevice
from vmm.devmodel.exit_path import Bus, Verdict
from vmm.devmodel.schema import NOTIFY, POSTED, RO, W1C, WO, Device, reg, u8, u16, u32, u64
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine

BASE = 0xd0000000


class Kinds(Device, id=0, version=1):
    """One register of each kind; no specification but this file."""

    plain = reg(0x00, u32, "read and write", reset=0x1234)
    fixed = reg(0x04, u32, "read only", access=RO, reset=0xabcd)
    clears_itself = reg(0x08, u32, "write one to clear, by userspace", access=W1C, reset=0xff)
    posted_clear = reg(0x0c, u32, "write one to clear, posted", access=W1C, takes=POSTED, reset=0xff)
    acknowledge = reg(0x10, u32, "clears bits of cause", access=WO, takes=POSTED, clears="cause")
    cause = reg(0x14, u32, "bits", access=RO, reset=0xf0f0)
    doorbell = reg(0x18, u32, "rings", access=WO, takes=NOTIFY)
    byte = reg(0x20, u8, "posted", takes=POSTED)
    half = reg(0x22, u16, "posted", takes=POSTED)
    wide = reg(0x28, u64, "posted", takes=POSTED)


class KindsDevice(RegisterDevice):
    schema = Kinds

    def __init__(self):
        super().__init__("kinds")
        self.rung = []

    def on_write_doorbell(self, value):
        self.rung.append(value)


@pytest.fixture(params=["off", "host"])
def machine(request):
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((KindsDevice(), request.param),)) as made:
        yield made


def write(machine, name, value, width=None):
    register = machine.devices[0].layout.registers[name]
    return machine.guest_write(Bus.MMIO, BASE + register.offset, width or register.type.size, value)


def read(machine, offset, width):
    return machine.guest_read(Bus.MMIO, BASE + offset, width)


@pytest.mark.parametrize("name, value, becomes", [
    ("plain", 7, 7), ("fixed", 7, 0xabcd), ("clears_itself", 0x0f, 0xf0), ("posted_clear", 0x0f, 0xf0),
    ("byte", 0x9a, 0x9a), ("half", 0xbeef, 0xbeef), ("wide", 2**63 + 1, 2**63 + 1)])
def test_write(machine, name, value, becomes):
    write(machine, name, value)
    assert getattr(machine.devices[0].page, name) == becomes


def test_neighbours_stay(machine):
    write(machine, "byte", 0xff)
    assert read(machine, 0x20, 4) == 0xff and read(machine, 0x1c, 4) == 0


def test_acknowledge(machine):
    write(machine, "acknowledge", 0x00f0)
    assert machine.devices[0].page.cause == 0xf000


def test_posted_stays_in_the_kernel_half(machine):
    taken = Verdict.HANDLED if machine.devices[0].mode == "host" else Verdict.TO_USER
    for name in ("byte", "half", "wide", "posted_clear", "acknowledge"):
        assert write(machine, name, 1) == taken
    assert write(machine, "plain", 1) == Verdict.TO_USER


def test_notify_without_a_handler_goes_up(machine):
    write(machine, "doorbell", 5)
    assert machine.devices[0].rung == [5]


def test_reads_of_parts_and_of_nothing(machine):
    assert read(machine, 0x00, 1) == 0x34 and read(machine, 0x01, 1) == 0x12
    assert read(machine, 0x00, 8) == 0xabcd00001234 and read(machine, 0x100, 4) == 0
    machine.guest_write(Bus.MMIO, BASE + 0x100, 4, 1)
    assert read(machine, 0x100, 4) == 0


class OverridingDevice(KindsDevice):
    """Has accesses of its own."""

    def read(self, offset, width):
        return super().read(offset, width) + 1

    def write(self, offset, width, value):
        super().write(offset, width, value + 1)


def test_a_class_that_overrides_accesses_gets_all():
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((OverridingDevice(), "off"),)) as machine:
        for value in (7, 9):
            write(machine, "plain", value)
            assert (machine.devices[0].page.plain, read(machine, 0, 4)) == (value + 1, value + 2)


def test_an_access_of_another_width_is_another(machine):
    for _ in range(2):
        write(machine, "plain", 0x01020304)
        write(machine, "plain", 0x0506, width=2)
        assert (read(machine, 0, 4), read(machine, 0, 2)) == (0x01020506, 0x0506)
