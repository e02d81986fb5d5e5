"""The 8259As by their data sheet (Intel 231468)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.chipsets import Pc

FIRST, SECOND = 0x20, 0xa0
EOI, ROTATE_EOI = 0x20, 0xa0


@pytest.fixture
def pc():
    """As Linux sets them up: vectors from 0x30 on, nothing masked."""
    pc = Pc()
    for port, base, third in (FIRST, 0x30, 4), (SECOND, 0x38, 2):
        pc.outb(port, 0x11)
        pc.outb(port + 1, base, third, 1, 0)
    return pc


def line(pc, gsi, level=True):
    pc.chips.set_level(gsi, level)


def test_nothing_is_let_through_before_anybody_sets_them_up():
    """As firmware leaves them."""
    pc = Pc()
    assert (pc.inb(0x21), pc.inb(0xa1)) == pc.chips.pic_masks() == (0xff, 0xff)
    line(pc, 3)
    assert pc.take() is None
    pc.outb(0x21, 0)
    assert pc.take() == 0x0b


def test_an_edge_is_taken_once(pc):
    line(pc, 3)
    assert pc.take() == 0x33 and pc.take() is None
    pc.outb(FIRST, EOI)
    assert pc.take() is None
    line(pc, 3, False)
    line(pc, 3)
    assert pc.take() == 0x33


def test_a_level_is_taken_until_it_falls(pc):
    pc.outb(0x4d0, 0xff)
    pc.outb(0x4d1, 0xff)
    assert (pc.inb(0x4d0), pc.inb(0x4d1)) == (0xf8, 0xde)
    line(pc, 5)
    for _ in range(3):
        assert pc.take() == 0x35
        pc.outb(FIRST, EOI)
    line(pc, 5, False)
    assert pc.take() is None


def test_priorities(pc):
    """0 is the highest; 8 to 15 come where 2 would."""
    for gsi in (15, 7, 8, 1, 3):
        line(pc, gsi)
    taken = []
    while (vector := pc.take()) is not None:
        taken.append(vector)
        if vector >= 0x38:
            pc.outb(SECOND, EOI)
        pc.outb(FIRST, EOI)
    assert taken == [0x31, 0x38, 0x3f, 0x33, 0x37]


def test_a_higher_one_interrupts_a_lower_one(pc):
    line(pc, 4)
    assert pc.take() == 0x34
    line(pc, 6)
    assert pc.take() is None
    line(pc, 1)
    assert pc.take() == 0x31
    pc.outb(FIRST, EOI)         # of the higher one
    assert pc.take() is None
    pc.outb(FIRST, 0x64)        # of 4, by its number
    assert pc.take() == 0x36


def test_rotation(pc):
    """A pin that was served is the lowest then."""
    line(pc, 2 + 1)
    assert pc.take() == 0x33
    pc.outb(FIRST, ROTATE_EOI)
    line(pc, 3, False)
    line(pc, 3)
    line(pc, 7)
    assert pc.take() == 0x37


def test_priority_that_is_set(pc):
    pc.outb(FIRST, 0xc0 | 4)    # 4 is the lowest, so 5 the highest
    for gsi in (0, 4, 5):
        line(pc, gsi)
    taken = []
    while (vector := pc.take()) is not None:
        taken.append(vector)
        pc.outb(FIRST, EOI)
    assert taken == [0x35, 0x30, 0x34]


def test_automatic_end_of_interrupt(pc):
    pc.outb(FIRST, 0x11)
    pc.outb(0x21, 0x30, 4, 3, 0)
    pc.outb(FIRST, 0x80)        # and rotate
    line(pc, 0)
    line(pc, 1)
    assert pc.take() == 0x30
    pc.outb(FIRST, 0x0b)
    assert pc.inb(FIRST) == 0
    line(pc, 0, False)
    line(pc, 0)
    assert [pc.take(), pc.take(), pc.take()] == [0x31, 0x30, None]


def test_special_mask_mode(pc):
    """A masked pin in service keeps out nobody (OCW3)."""
    line(pc, 1)
    assert pc.take() == 0x31
    pc.outb(0x21, 1 << 1)
    line(pc, 5)
    assert pc.take() is None
    pc.outb(FIRST, 0x68)
    assert pc.take() == 0x35
    line(pc, 6)
    assert pc.take() is None    # 5 is not masked


def test_special_fully_nested_mode(pc):
    """The first lets a higher one of the second through while a lower one is served."""
    line(pc, 12)
    assert pc.take() == 0x3c
    line(pc, 9)
    assert pc.take() is None
    pc.outb(FIRST, 0x11)
    pc.outb(0x21, 0x30, 4, 0x11, 0)
    line(pc, 9, False)
    line(pc, 9)
    assert pc.take() == 0x39


@pytest.mark.parametrize("port, gsi", [(FIRST, 5), (SECOND, 13)])
def test_poll(pc, port, gsi):
    """Bit 7 and the pin, which is in service then; 0 if there is none."""
    line(pc, gsi)
    pc.outb(port, 0x0c)
    assert pc.inb(port) == 0x80 | gsi & 7
    pc.outb(port, 0x0b)
    assert pc.inb(port) == 1 << (gsi & 7)
    assert pc.take() is None
    pc.outb(port, 0x0c)
    assert pc.inb(port + 1) == 0


def test_one_that_is_there_no_more_is_spurious(pc):
    """It is said to have come by pin 7, and is not in service."""
    pc.outb(0x4d1, 0x08)
    line(pc, 11)
    line(pc, 11, False)         # the first keeps the edge that the second made
    assert pc.take() == 0x3f
    pc.outb(SECOND, 0x0b)
    assert pc.inb(SECOND) == 0
    pics = pc.chips.pics
    pc.outb(0x21, 0xff)
    assert pics.acknowledge() == 0x37


def test_what_is_read(pc):
    pc.outb(0x21, 0xf0)
    line(pc, 6)
    assert pc.inb(0x21) == 0xf0 and pc.inb(FIRST) == 0x40
    pc.outb(0x21, 0)
    pc.take()
    assert pc.inb(FIRST) == 0
    pc.outb(FIRST, 0x0b)
    assert pc.inb(FIRST) == 0x40
    pc.outb(FIRST, 0x0a)
    assert pc.inb(FIRST) == 0


def test_initialization_without_icw4(pc):
    pc.outb(FIRST, 0x10)
    pc.outb(0x21, 0x77, 4, 0xaa)
    assert pc.inb(0x21) == 0xaa
    pc.outb(0x21, 0)
    line(pc, 1)
    assert pc.take() == 0x71


@pytest.mark.parametrize("width", [2, 3, 4, 8])
def test_other_widths_do_nothing(pc, width):
    for port in (FIRST, SECOND, 0x4d0):
        device, offset = pc.ports.find(port, 1)
        device.write(offset, width, 0xffffffff)
        assert device.read(offset, width) == 0
    assert pc.chips.pic_masks() == (0, 0)


@given(st.lists(st.tuples(st.sampled_from([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0, 15]), st.integers(0, 255))))
def test_whatever_a_guest_writes(steps):
    """What is pending can be taken, and a vector is a byte."""
    pc = Pc()
    for port, value in steps:
        if port < 16:
            line(pc, port, bool(value & 1))
        else:
            pc.outb(port, value)
            assert 0 <= pc.inb(port) <= 0xff
        if pc.chips.pending(0) and value & 2:
            assert 0 <= pc.chips.acknowledge(0) <= 0xff
