"""A local APIC by the SDM (volume 3, chapter 11)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.chipsets import LAPIC, Pc
from vmm.chips.apic_registers import BASE_BOOT, BASE_ENABLED, BASE_X2APIC

EOI, TPR, PPR, ESR, ICR = 0xb0, 0x80, 0xa0, 0x280, 0x300
LVT_TIMER, LINT0, LINT1, LVT_ERROR = 0x320, 0x350, 0x360, 0x370


@pytest.fixture
def pc():
    pc = Pc()
    pc.enable()
    pc.cpus.take()
    return pc


def taken(pc):
    """All that it takes, each ended."""
    vectors = []
    while (vector := pc.take()) is not None:
        vectors.append(vector)
        pc.apic_write(EOI, 0)
    return vectors


def test_as_it_is_after_reset():
    """Table 11-1 and 11.4.7.1; LINT0 has the 8259s, and nothing is enabled."""
    pc = Pc(2)
    for cpu in (0, 1):
        assert pc.apic_read(0x20, cpu) == cpu << 24 and pc.apic_read(0x30, cpu) == 0x50014
        assert pc.apic_read(0xe0, cpu) == 0xffffffff and pc.apic_read(0xf0, cpu) == 0xff
        assert [pc.apic_read(at, cpu) for at in (LVT_TIMER, 0x330, 0x340, LINT1, LVT_ERROR)] == [0x10000] * 5
    assert (pc.apic_read(LINT0, 0), pc.apic_read(LINT0, 1)) == (0x700, 0x10000)
    assert not pc.chips.message(LAPIC, 0x40) and not pc.chips.pending(0)


def test_the_highest_vector_comes_first(pc):
    for vector in (0x31, 0xf0, 0x35, 0x80):
        pc.chips.message(LAPIC, vector)
    assert taken(pc) == [0xf0, 0x80, 0x35, 0x31]


def test_only_a_higher_class_interrupts_one_in_service(pc):
    pc.chips.message(LAPIC, 0x41)
    assert pc.take() == 0x41 and pc.apic_read(PPR) == 0x40
    pc.chips.message(LAPIC, 0x4f)
    assert pc.take() is None
    pc.chips.message(LAPIC, 0x50)
    assert pc.take() == 0x50 and pc.apic_read(PPR) == 0x50
    pc.apic_write(EOI, 0)
    assert pc.apic_read(PPR) == 0x40 and pc.take() is None
    pc.apic_write(EOI, 0)
    assert pc.take() == 0x4f


def test_task_priority(pc):
    pc.apic_write(TPR, 0x5f)
    assert pc.apic_read(PPR) == 0x5f and pc.chips.apic(0).cr8 == 5
    pc.chips.message(LAPIC, 0x5e)
    assert not pc.chips.pending(0)
    pc.cpus.take()
    pc.chips.apic(0).set_cr8(4)
    assert pc.apic_read(TPR) == 0x40 and pc.cpus.take() == [("wake", 0)] and pc.take() == 0x5e


def test_registers_of_vectors(pc):
    pc.chips.message(LAPIC, 0x47)
    pc.chips.message(LAPIC, 0xe1 | 1 << 15)
    assert pc.apic_read(0x220) == 1 << 7 and pc.apic_read(0x270) == 1 << 1 and pc.apic_read(0x1f0) == 1 << 1
    pc.take()
    assert pc.apic_read(0x270) == 0 and pc.apic_read(0x170) == 1 << 1
    pc.apic_write(EOI, 0)
    assert pc.apic_read(0x170) == 0
    pc.apic_write(EOI, 0)       # of nothing


def test_a_message_that_comes_twice_is_taken_once_or_once_more(pc):
    pc.chips.message(LAPIC, 0x40)
    pc.chips.message(LAPIC, 0x40)
    assert pc.take() == 0x40
    pc.chips.message(LAPIC, 0x40)
    pc.apic_write(EOI, 0)
    assert taken(pc) == [0x40]


def test_switched_off_by_software(pc):
    """Local vectors are masked, and stay so; what was requested before is taken yet (11.4.7.2)."""
    pc.apic_write(LVT_TIMER, 0x40)
    pc.chips.message(LAPIC, 0x55)
    pc.apic_write(0xf0, 0xff)
    assert pc.apic_read(LVT_TIMER) == 0x10040
    pc.apic_write(LVT_TIMER, 0x41)
    assert pc.apic_read(LVT_TIMER) == 0x10041
    assert not pc.chips.message(LAPIC, 0x66)
    assert taken(pc) == [0x55]


@pytest.mark.parametrize("lvt, expected", [(0x400, [("nmi", 0)]), (0x10400, []), (0x040, [("wake", 0)]), (0x700, [])])
def test_the_nmi_line_is_lint1(pc, lvt, expected):
    pc.apic_write(LINT1, lvt)
    pc.chips.nmi_line(0)
    assert pc.cpus.take() == expected


def test_self_interrupts(pc):
    pc.apic_write(ICR, 1 << 18 | 0x77)
    assert pc.apic_read(ICR) == 1 << 18 | 0x77 and taken(pc) == [0x77]


def test_errors(pc):
    """Each is told once, and ESR has those up to when it was written (11.5.3)."""
    pc.apic_write(LVT_ERROR, 0xfe)
    pc.apic_write(ICR, 1 << 18 | 0x0f)
    assert pc.apic_read(ESR) == 0
    pc.apic_write(ESR, 0)
    assert pc.apic_read(ESR) == 1 << 5 and taken(pc) == [0xfe]
    pc.chips.message(LAPIC, 0x05)
    assert pc.apic_read(0x40) == 0
    pc.apic_write(0x500, 1)
    pc.apic_write(ESR, 0)
    assert pc.apic_read(ESR) == 1 << 6 | 1 << 7 and taken(pc) == [0xfe]
    pc.apic_write(ESR, 0)
    assert pc.apic_read(ESR) == 0


def test_an_error_whose_vector_is_one(pc):
    pc.apic_write(LVT_ERROR, 0x03)
    pc.apic_write(ICR, 1 << 18)
    pc.apic_write(ESR, 0)
    assert pc.apic_read(ESR) == 1 << 5 | 1 << 6


def test_parts_of_registers(pc):
    """They are written whole, and may be read by bytes."""
    apic = pc.chips.apic(0)
    for offset, width in ((TPR, 1), (TPR, 2), (TPR, 8), (TPR + 4, 4), (TPR + 1, 4)):
        apic.write(offset, width, 0x33)
    assert pc.apic_read(TPR) == 0
    assert [apic.read(0x30 + at, 1) for at in range(5)] == [0x14, 0, 5, 0, 0]
    assert apic.read(0x32, 2) == 5 and apic.read(0x33, 2) == 0 and apic.read(0x30, 8) == 0


def test_x2apic(pc):
    """The same registers, by number; other ways into the mode are faults (figure 11-27)."""
    apic = pc.chips.apic(0)
    assert apic.read_msr(0x802) is None and not apic.write_msr(0x808, 0)
    assert apic.base == LAPIC | BASE_ENABLED | BASE_BOOT
    assert apic.set_base(apic.base | BASE_X2APIC)
    assert apic.read_msr(0x80d) == 1 and apic.read(0x20, 4) == 0xffffffff
    assert apic.write_msr(0x80f, 0x1ff) and apic.write_msr(0x83f, 0x44) and pc.take() == 0x44
    assert apic.write_msr(0x80b, 0) and apic.write_msr(0x830, 5 << 32 | 0x45) and not pc.chips.pending(0)
    assert apic.read_msr(0x830) == 5 << 32 | 0x45
    for msr, value in ((0x830, 1 << 13), (0x808, 1 << 32), (0x802, 0), (0x80d, 0), (0x828, 1), (0x83f, 0x100),
                       (0x80e, 0), (0x831, 0), (0x8ff, 0)):
        assert not apic.write_msr(msr, value)
    assert not apic.set_base(apic.base & ~BASE_X2APIC) and not apic.set_base(apic.base | 1)
    assert apic.set_base(LAPIC | BASE_BOOT) and not apic.set_base(apic.base | BASE_X2APIC | BASE_ENABLED)


def test_switched_off_by_the_base_the_cpu_has_the_8259s(pc):
    apic = pc.chips.apic(0)
    pc.apic_write(LINT0, 0x10000)
    pc.outb(0x21, 0)
    pc.chips.pulse(3)
    assert not pc.chips.pending(0)
    assert apic.set_base(LAPIC | BASE_BOOT)
    assert pc.take() == 0x0b


def test_what_cannot_be_is_not_loaded():
    apic = Pc().chips.apic(0)
    apic.load([0xffffffff] * 64, (1 << 64) - 1)
    words = apic.store()
    assert words[3] == 0x50014 and words[8] == 0xff and words[0x0a] <= 0xff and words[0x32] & ~0x710ff == 0


OFFSETS = st.one_of(st.integers(0, 0xfff), st.sampled_from([at << 4 for at in range(64)]))
STEP = st.tuples(OFFSETS, st.sampled_from([1, 2, 4, 4, 4, 8]), st.integers(0, 0xffffffff), st.booleans())


@given(st.lists(STEP, max_size=40))
def test_whatever_a_guest_writes(steps):
    """PPR is what it is by its definition, and what is pending is above it (11.8.3.1)."""
    pc = Pc(2)
    apic = pc.chips.apic(0)
    for offset, width, value, takes in steps:
        apic.write(offset, width, value)
        assert 0 <= apic.read(offset, width) < 1 << 8 * width
        if takes:
            pc.take()
            pc.chips.tick()
        words = apic.store()
        irr, isr = (sum(word << 32 * at for at, word in enumerate(words[base:base + 8])) for base in (0x20, 0x10))
        served = max(isr.bit_length() - 1, 0) & 0xf0
        assert words[0x0a] == (words[8] if words[8] & 0xf0 >= served else served)
        assert pc.chips.pending(0) == (irr.bit_length() - 1 & 0xf0 > words[0x0a] & 0xf0 if irr else False)
        assert not irr & 0xffff


@given(st.lists(st.tuples(st.integers(0, 0xffff), st.integers(0, (1 << 64) - 1)), max_size=30))
def test_whatever_a_guest_writes_to_msrs(steps):
    pc = Pc(1)
    apic = pc.chips.apic(0)
    apic.set_base(apic.base | BASE_X2APIC)
    for msr, value in steps:
        apic.write_msr(0x800 + msr % 0x42, value)
        apic.write_msr(0x800 + msr % 0x42, value & 0xff)
        assert (apic.read_msr(0x800 + msr % 0x42) or 0) < 1 << 64
        apic.set_base(value) if value & 0xf == 7 else apic.set_deadline(value)
        assert len(apic.store()) == 64
