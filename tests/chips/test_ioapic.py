"""The I/O APIC by its data sheet (Intel 82093AA, 290566)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.chipsets import IOAPIC, Pc
from vmm.chips.ioapic import LEVEL, MASKED, REMOTE_IRR, VERSION_WITH_EOI


@pytest.fixture
def pc():
    pc = Pc()
    pc.enable()
    return pc


def register(pc, number, width=4):
    pc.memory.write(IOAPIC, 4, number)
    return pc.memory.read(IOAPIC + 0x10, width)


def taken(pc):
    vector = pc.take()
    pc.apic_write(0xb0, 0)
    return vector


def test_registers(pc):
    assert register(pc, 1) == 0x170011 and register(pc, 0) == 0 and register(pc, 0x10) == MASKED
    assert register(pc, 3) == register(pc, 0x40) == register(pc, 0xff) == 0xffffffff
    pc.memory.write(IOAPIC, 4, 0)
    pc.memory.write(IOAPIC + 0x10, 4, 0xffffffff)
    assert register(pc, 0) == register(pc, 2) == 0x0f000000
    for number in (1, 2, 3, 0x40, 0xff):
        pc.memory.write(IOAPIC, 4, number)
        pc.memory.write(IOAPIC + 0x10, 4, 0x12345678)
    assert register(pc, 1, 8) == 0x170011 and register(pc, 1, 1) == 0x11 and register(pc, 1, 2) == 0x11
    assert pc.memory.read(IOAPIC, 4) == 1 and pc.memory.read(IOAPIC + 4, 4) == 0


def test_an_edge(pc):
    pc.redirect(5, 0x45)
    pc.chips.set_level(5, True)
    assert taken(pc) == 0x45 and taken(pc) is None
    pc.chips.set_level(5, True)
    assert taken(pc) is None
    pc.chips.pulse(5)
    pc.chips.pulse(5)
    assert taken(pc) == 0x45 and taken(pc) is None and not pc.entry(5) & REMOTE_IRR


def test_an_edge_while_it_is_masked_is_lost(pc):
    pc.redirect(5, 0x45 | MASKED)
    pc.chips.set_level(5, True)
    pc.redirect(5, 0x45)
    assert taken(pc) is None


def test_a_level_is_raised_again_at_the_eoi(pc):
    pc.redirect(5, 0x45 | LEVEL)
    pc.chips.set_level(5, True)
    assert pc.entry(5) & REMOTE_IRR
    for _ in range(3):
        assert taken(pc) == 0x45
    assert pc.take() == 0x45
    pc.chips.set_level(5, False)
    assert pc.entry(5) & REMOTE_IRR
    pc.apic_write(0xb0, 0)
    assert pc.take() is None and not pc.entry(5) & REMOTE_IRR


def test_a_level_that_waits_behind_a_mask(pc):
    pc.redirect(5, 0x45 | LEVEL | MASKED)
    pc.chips.set_level(5, True)
    assert taken(pc) is None
    pc.redirect(5, 0x45 | LEVEL)
    assert taken(pc) == 0x45
    pc.chips.set_level(5, False)
    pc.apic_write(0xb0, 0)


def test_remote_irr_is_not_to_be_written_but_ends_with_level(pc):
    """By which Linux gives an EOI to chips without the register for it."""
    pc.redirect(5, 0x45 | LEVEL | REMOTE_IRR)
    assert not pc.entry(5) & REMOTE_IRR
    pc.chips.set_level(5, True)
    pc.redirect(5, 0x45 | LEVEL)
    assert pc.entry(5) & REMOTE_IRR
    pc.redirect(5, 0x45 | MASKED)
    assert not pc.entry(5) & REMOTE_IRR


def test_the_eoi_register_of_a_newer_one(pc):
    """It is a version's, and another version has nothing there."""
    newer = Pc(ioapic_version=VERSION_WITH_EOI)
    newer.enable()
    for each in (pc, newer):
        each.redirect(5, 0x45 | LEVEL)
        each.chips.set_level(5, True)
        each.chips.set_level(5, False)
        each.memory.write(IOAPIC + 0x40, 4, 0x45)
    assert register(newer, 1) == 0x170020
    assert pc.entry(5) & REMOTE_IRR and not newer.entry(5) & REMOTE_IRR


@pytest.mark.parametrize("mode, told", [
    (4, [("nmi", 0)]), (5, [("init", 0)]), (6, [("sipi", 0, 0x45)]), (2, []), (7, [])])
def test_delivery_modes(pc, mode, told):
    """SMI: there is no such mode here.  ExtINT: that is LINT0's, as KVM has it."""
    pc.cpus.take()
    pc.redirect(5, 0x45 | mode << 8)
    pc.chips.pulse(5)
    assert [each for each in pc.cpus.take() if each[0] != "wake"] == told and pc.take() is None


def test_a_level_that_nobody_takes_is_not_in_service(pc):
    pc.redirect(5, 0x45 | LEVEL | 7 << 56)
    pc.chips.set_level(5, True)
    assert not pc.entry(5) & REMOTE_IRR


STEP = st.tuples(st.sampled_from([0, 0x10, 0x40, 0x11, 0xfc]), st.sampled_from([1, 2, 3, 4, 8]),
                 st.integers(0, (1 << 64) - 1), st.integers(0, 23))


@given(st.lists(STEP, max_size=60))
def test_whatever_a_guest_writes(steps):
    """An edge is never in service, and a level only between being sent and its EOI."""
    pc = Pc()
    pc.enable()
    device, _ = pc.memory.find(IOAPIC, 4)
    for offset, width, value, gsi in steps:
        device.write(offset, width, value)
        assert 0 <= device.read(offset, width) < 1 << 8 * width
        pc.chips.set_level(gsi, bool(value & 1))
        if value & 2:
            taken(pc)
        for entry in pc.chips.ioapic_pins():
            assert 0 <= entry < 1 << 64 and (entry & LEVEL or not entry & REMOTE_IRR)
