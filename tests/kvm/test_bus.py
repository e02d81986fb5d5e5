"""Addresses to devices."""

import logging

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.kvm.bus import AddressSpace, BusOverlap


class Recorder:
    def __init__(self):
        self.seen = []

    def write(self, offset, width, value):
        self.seen.append((offset, width, value))

    def read(self, offset, width):
        return offset



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
