"""Addresses to devices."""

import logging

import pytest

from vmm.devmodel.exit_path import Bus
from vmm.kvm import bus
from vmm.kvm.bus import AddressSpace, BusOverlap


class Recorder:
    def __init__(self):
        self.seen = []

    def write(self, offset, width, value):
        self.seen.append((offset, width, value))

    def read(self, offset, width):
        return offset


class Registers(Recorder):
    """Has one of 4 bytes at 0."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def register_reader(self, offset, width):
        self.asked.append((offset, width))
        return (lambda: 0x600d) if (offset, width) == (0, 4) else None

    def register_writer(self, offset, width):
        self.asked.append((offset, width))
        return self.seen.append if (offset, width) == (0, 4) else None


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


def test_a_register_is_asked_for_once(space):
    device = Registers()
    space.add(0x5000, 0x1000, device, "registers")
    assert [space.read(0x5000, 4) for _ in range(3)] == [0x600d] * 3
    for value in (7, 8):
        space.write(0x5000, 4, value)
    assert device.asked == [(0, 4), (0, 4)] and device.seen == [7, 8]


def test_what_is_no_register_is_told_each_time(space):
    device = Registers()
    space.add(0x5000, 0x1000, device, "registers")
    for width in (2, 2, 1):
        assert space.read(0x5002, width) == 2
        space.write(0x5002, width, 9)
    assert device.seen == [(2, 2, 9), (2, 2, 9), (2, 1, 9)]


def test_a_register_goes_with_its_device(space):
    """A BAR that the guest moves."""
    device = Registers()
    space.add(0x5000, 0x1000, device, "registers")
    assert space.read(0x5000, 4) == 0x600d
    space.write(0x5000, 4, 7)
    space.remove(0x5000)
    assert space.read(0x5000, 4) == 0xffffffff
    space.write(0x5000, 4, 8)
    space.add(0x4000, 0x2000, Recorder(), "another")
    assert space.read(0x5000, 4) == 0x1000 and device.seen == [7]


def test_a_register_that_goes_while_it_is_looked_for(space):
    """By another vCPU's thread: the next access does not find it."""
    class Leaving(Registers):
        def register_reader(self, offset, width):
            space.remove(0x5000)
            return lambda: 0x600d
    space.add(0x5000, 0x1000, Leaving(), "leaving")
    assert [space.read(0x5000, 4) for _ in range(2)] == [0x600d, 0xffffffff]


def test_a_device_where_nobody_was(space):
    assert [space.read(0x6010, 4) for _ in range(2)] == [0xffffffff] * 2
    for _ in range(2):
        space.write(0x6010, 4, 1)
    late = Recorder()
    space.add(0x6000, 0x1000, late, "late")
    space.write(0x6010, 4, 2)
    assert space.read(0x6010, 4) == 0x10 and late.seen == [(0x10, 4, 2)]


def test_no_more_strangers_are_remembered_than_so_many(space, monkeypatch):
    """A guest chooses them."""
    monkeypatch.setattr(bus, "MOST_STRANGERS", 3)
    for address in range(0x8000, 0x8010):
        for width in (1, 2, 4, 8):
            for _ in range(2):
                assert space.read(address, width) == (1 << 8 * width) - 1
                space.write(address, width, 1)
    assert len(space._reads) == len(space._writes) == 3 * 4
