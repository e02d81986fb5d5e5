"""The ports of QEMU's test devices."""

import pytest

from vmm.devmodel.exit_path import Bus

SCRATCH, EXIT, LINES, MEMORY = 0xe0, 0xf4, 0x2000, 0xff000000


@pytest.fixture
def machine(machine_with):
    return machine_with(memory=1 << 20, machine_ports="test")


@pytest.mark.parametrize("value, status", [(0, 1), (1, 3), (77, 155), (127, 255), (128, 1), (0xffffffff, 255)])
@pytest.mark.parametrize("at, width", [(0, 4), (0, 1), (3, 1)])
def test_exit(machine, value, status, at, width):
    if value < 1 << 8 * width:
        machine.guest_write(Bus.PORT, EXIT + at, width, value)
        assert machine.status == status


@pytest.mark.parametrize("bus, base", [(Bus.PORT, SCRATCH), (Bus.MMIO, MEMORY), (Bus.MMIO, MEMORY + 0xfffc)])
def test_scratch(machine, bus, base):
    machine.guest_write(bus, base, 4, 0x11223344)
    machine.guest_write(bus, base + 1, 1, 0x55)
    assert [machine.guest_read(bus, base + at, width) for at, width in ((0, 4), (2, 2), (1, 1))] == [
        0x11225544, 0x1122, 0x55]


def test_what_leaves_the_scratch_memory(machine):
    machine.guest_write(Bus.MMIO, MEMORY + 0xfffc, 8, 0)
    assert machine.guest_read(Bus.MMIO, MEMORY + 0xfffc, 8) == (1 << 64) - 1
    assert machine.guest_read(Bus.MMIO, MEMORY + 0xfffc, 4) == 0


def test_lines(machine):
    for port, width, value in ((LINES + 5, 1, 1), (LINES + 5, 1, 0), (LINES + 23, 4, 0x100), (LINES + 24, 1, 1)):
        machine.guest_write(Bus.PORT, port, width, value)
    machine.guest_write(Bus.PORT, LINES + 20, 4, 1)
    assert {gsi: machine.interrupts_of(gsi) for gsi in range(26) if machine.interrupts_of(gsi)} == {5: 1, 20: 1}


def test_not_there_unless_asked_for(machine_with):
    machine = machine_with(memory=1 << 20)
    for port in (SCRATCH, EXIT, LINES):
        machine.guest_write(Bus.PORT, port, 1, 1)
        assert machine.guest_read(Bus.PORT, port, 1) == 0xff
    assert machine.status is None and machine.guest_read(Bus.MMIO, MEMORY, 4) == 0xffffffff
