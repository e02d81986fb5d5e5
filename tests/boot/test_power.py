"""Ports by which a guest ends, and what its end is called."""

import logging

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine

PVPANIC, RESET, SLEEP_CONTROL = 0x505, 0x682, 0x680


@pytest.fixture
def machine():
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False)) as machine:
        yield machine


def write(machine, port, value):
    machine.guest_write(Bus.PORT, port, 1, value)


@pytest.mark.parametrize("port, value, end", [
    (PVPANIC, 1, (100, True, False)), (PVPANIC, 3, (100, True, False)), (PVPANIC, 0xfc, (None, False, False)),
    (RESET, 1, (0, False, True)), (SLEEP_CONTROL, 5 << 2 | 1 << 5, (0, False, False)),
    (SLEEP_CONTROL, 3 << 2 | 1 << 5, (None, False, False))])
def test_ends(machine, port, value, end):
    write(machine, port, value)
    assert (machine.status, machine.panicked, machine.rebooted) == end


def test_reset_control_of_a_chipset(machine):
    write(machine, 0xcf9, 2)
    assert not machine.rebooted
    write(machine, 0xcf9, 6)
    assert machine.rebooted


def test_pvpanic_says_what_it_takes(machine):
    assert machine.guest_read(Bus.PORT, PVPANIC, 1) == 3


def test_a_crash_kernel_goes_on(machine, caplog):
    with caplog.at_level(logging.WARNING):
        write(machine, PVPANIC, 2)
    assert machine.status is None and not machine.panicked and "crash kernel takes over" in caplog.text
