"""What a machine says of itself and of switches, at level info."""

import logging

import pytest

from vmm.machine import inventory
from vmm.machine.config import DiskConfig, RngConfig


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "splitvmm")
    return lambda: [record.getMessage() for record in caplog.records]


def test_devices_and_where_they_are(said, machine_with, image):
    disks = [DiskConfig(image, offload="off", read_only=True),
             DiskConfig(image, offload="host", transport="pci", read_only=True)]
    machine = machine_with(memory=(4 << 20) + 4096, disks=disks, rng=RngConfig(offload="off"))
    pins = [machine.devices[i].place.lines[0].gsi for i in (0, 2)]
    base = machine.devices[1].place.base
    assert said() == list(inventory.lines(machine)) == [
        "machine: 4100 KiB of memory, 0 vCPUs, 3 devices",
        f"disk0: registers at 0xd0000000, interrupt {pins[0]}, offload off",
        f"disk1: PCI 00:01.0, BAR at {base:#x}, 2 messages (MSI-X), offload host",
        f"rng0: registers at 0xd0001000, interrupt {pins[1]}, offload off"]


def test_switches(said, machine_of, image):
    machine = machine_of(image)
    before = len(said())
    for mode in ("host", "host", "off"):
        machine.set_offload(machine.devices[0], mode)
    assert said()[before:] == ["disk0: offload host, was off", "disk0: offload off, was host"]


def test_upcalls_are_counted(machine_of, image):
    disk = machine_of(image, queues=2).devices[0]
    for queue in (1, 1, 0, 2):
        disk.upcalled(queue, 0)
    assert disk.upcalls == [1, 2]
