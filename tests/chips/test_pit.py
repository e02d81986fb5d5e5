"""The 8254 by its data sheet (Intel 82C54, 231244): counts and outputs, clock by clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.chipsets import Pc
from vmm.chips.clock import NS_PER_S
from vmm.chips.pit import LEAST_PERIOD_NS
from vmm.chips.pit_channel import Channel, ns_of_clocks, of_bcd, to_bcd


def channel(mode, count, gate=True, bcd=False):
    made = Channel(gate)
    made.control(3, mode, bcd)
    made.write(count & 0xff, 0)
    made.write(count >> 8, 0)
    return made


def values(made, clocks, start=0):
    return [made.value(ns_of_clocks(at)) for at in range(start, start + clocks)]


def outputs(made, clocks, start=0):
    return "".join("01"[made.output(ns_of_clocks(at))] for at in range(start, start + clocks))


def test_mode_0_interrupt_on_terminal_count():
    made = channel(0, 4)
    assert values(made, 7) == [4, 3, 2, 1, 0, 0xffff, 0xfffe]
    assert outputs(made, 7) == "0000111"


def test_mode_0_is_stopped_by_the_gate_and_goes_on():
    made = channel(0, 5)
    made.set_gate(False, ns_of_clocks(2))
    assert values(made, 3, 10) == [3, 3, 3] and outputs(made, 3, 10) == "000"
    made.set_gate(True, ns_of_clocks(20))
    assert values(made, 4, 20) == [3, 2, 1, 0] and outputs(made, 4, 20) == "0001"


def test_mode_0_the_first_byte_of_two_stops_it():
    made = channel(0, 4)
    made.write(2, ns_of_clocks(10))
    assert outputs(made, 3, 10) == "000"
    made.write(0, ns_of_clocks(20))
    assert outputs(made, 3, 20) == "001"


def test_mode_1_begins_with_the_gate():
    made = channel(1, 3, gate=False)
    assert outputs(made, 4) == "1111"
    made.set_gate(True, ns_of_clocks(4))
    assert outputs(made, 5, 4) == "00011"
    made.set_gate(False, ns_of_clocks(10))
    made.set_gate(True, ns_of_clocks(11))
    assert outputs(made, 5, 11) == "00011"


def test_mode_2_rate_generator():
    made = channel(2, 3)
    assert values(made, 7) == [3, 2, 1, 3, 2, 1, 3]
    assert outputs(made, 7) == "1101101"


@pytest.mark.parametrize("count, high, low", [
    (4, [4, 2], [4, 2]), (5, [4, 2, 0], [4, 2]), (2, [2], [2]), (3, [2, 0], [2])])
def test_mode_3_square_wave(count, high, low):
    made = channel(3, count)
    assert values(made, 2 * count) == (high + low) * 2
    assert outputs(made, 2 * count) == ("1" * len(high) + "0" * len(low)) * 2


@pytest.mark.parametrize("mode", [2, 3])
def test_periodic_modes_and_their_gate(mode):
    """Low, it holds the output high; rising, it begins anew."""
    made = channel(mode, 4)
    made.set_gate(False, ns_of_clocks(3))
    assert outputs(made, 5, 3) == "11111"
    made.set_gate(True, ns_of_clocks(9))
    assert outputs(made, 4, 9) == {2: "1110", 3: "1100"}[mode]


def test_mode_2_a_new_count_waits_for_the_period():
    made = channel(2, 4)
    made.write(2, ns_of_clocks(1))
    made.write(0, ns_of_clocks(1))
    assert made.status(ns_of_clocks(1)) & 0x40
    assert values(made, 7, 1) == [3, 2, 1, 2, 1, 2, 1]
    assert not made.status(ns_of_clocks(9)) & 0x40


def test_mode_3_a_new_count_waits_for_half_a_period():
    made = channel(3, 8)
    made.write(4, ns_of_clocks(1))
    made.write(0, ns_of_clocks(1))
    assert outputs(made, 9, 1) == "111" + "00" + "1100"


def test_modes_4_and_5_strobe():
    made = channel(4, 3)
    assert outputs(made, 6) == "111011"
    made = channel(5, 3, gate=False)
    assert outputs(made, 5) == "11111"
    made.set_gate(True, ns_of_clocks(5))
    assert outputs(made, 6, 5) == "111011"


def test_modes_6_and_7_are_2_and_3():
    assert [channel(mode, 1).mode for mode in (6, 7)] == [2, 3]


def test_decimal():
    made = channel(0, 0x1000, bcd=True)
    assert values(made, 2) == [0x1000, 0x0999] and outputs(made, 2, 999) == "01"
    assert channel(2, 0, bcd=True).count == 10000 and channel(2, 0).count == 0x10000


@given(st.integers(0, 9999))
def test_decimal_there_and_back(value):
    assert of_bcd(to_bcd(value)) == value


def test_latches():
    """The count is kept until it is read, the status comes first, and a second command changes nothing."""
    pc = Pc()
    pc.outb(0x43, 0xb0)
    pc.outb(0x42, 0x34, 0x12)
    pc.outb(0x61, 1)
    pc.outb(0x43, 0xc8)                 # read back: both of counter 2
    pc.passes(ns_of_clocks(0x100))
    pc.outb(0x43, 0x80)
    assert [pc.inb(0x42) for _ in range(3)] == [0x30, 0x34, 0x12]
    assert pc.inb(0x42) | pc.inb(0x42) << 8 == 0x1134
    pc.outb(0x43, 0x80, 0xa0)           # a new control word ends the latch
    pc.outb(0x42, 0x77)
    assert pc.inb(0x42) == 0x77


@pytest.mark.parametrize("access, expected", [(1, [0x34, 0x34]), (2, [0x12, 0x12]), (3, [0x34, 0x12])])
def test_halves(access, expected):
    pc = Pc()
    pc.outb(0x43, 0x80 | access << 4 | 8)
    pc.outb(0x42, *{1: [0x34], 2: [0x12], 3: [0x34, 0x12]}[access])
    assert pc.chips.pit.channels[2].count == {1: 0x34, 2: 0x1200, 3: 0x1234}[access]
    if access == 3:
        assert [pc.inb(0x42), pc.inb(0x42)] == expected


def test_port_0x61():
    """As Linux measures the TSC's frequency: gate, count down in mode 0, wait for the output."""
    pc = Pc()
    pc.outb(0x61, 1)
    pc.outb(0x43, 0xb0)
    pc.outb(0x42, 0xff, 0x7f)
    assert pc.inb(0x61) & 0x2f == 0x01
    pc.passes(ns_of_clocks(0x7fff))
    assert pc.inb(0x61) & 0x2f == 0x21
    pc.outb(0x61, 3)
    assert pc.inb(0x61) & 3 == 3
    first = pc.inb(0x61) & 0x10
    pc.passes(1 << 14)
    assert pc.inb(0x61) & 0x10 != first
    pc.outb(0x61, 0)
    assert pc.inb(0x61) & 3 == 0


@pytest.mark.parametrize("mode, expected", [(0, 1), (2, 100), (3, 100), (4, 1)])
def test_interrupts_of_counter_0(mode, expected):
    pc = Pc()
    count = 1193
    pc.enable()
    pc.redirect(2, 0x40)
    pc.outb(0x43, 0x30 | mode << 1)
    pc.outb(0x40, count & 0xff, count >> 8)
    taken = 0
    for _ in range(1000):
        pc.passes(ns_of_clocks(count * 100) // 1000 + 1)
        if pc.take() == 0x40:
            taken += 1
            pc.apic_write(0xb0, 0)
    assert taken == expected


def test_a_short_period_is_not_heard_of_more_often_than_anybody_bears():
    pc = Pc()
    pc.outb(0x43, 0x14)
    pc.outb(0x40, 2)
    began_ns = pc.clock.now_ns
    for _ in range(10):
        pc.clock.now_ns = pc.chips.next_ns()
        pc.chips.tick()
    assert pc.clock.now_ns >= began_ns + 9 * LEAST_PERIOD_NS


def test_missed_periods_are_one_interrupt():
    pc = Pc()
    pc.outb(0x43, 0x34)
    pc.outb(0x40, 0xff, 0xff)
    pc.clock.now_ns += NS_PER_S
    pc.chips.tick()
    assert pc.chips.next_ns() > pc.clock.now_ns
    assert (pc.chips.next_ns() - 1_000_000_000) * 1193182 // NS_PER_S % 65535 in (0, 65534)


STEP = st.tuples(st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x61]), st.integers(0, 255), st.sampled_from([1, 2, 4]),
                 st.integers(0, 10 ** 8))


@given(st.lists(STEP))
def test_whatever_a_guest_writes(steps):
    pc = Pc()
    for port, value, width, ns in steps:
        pc.ports.write(port, width, value)
        assert 0 <= pc.inb(port) <= 0xff
        pc.passes(ns)
        next_ns = pc.chips.next_ns()
        assert next_ns is None or next_ns > pc.clock.now_ns


def test_an_edge_that_nobody_has_looked_at_yet_is_not_lost():
    """By an access of the guest's that comes first."""
    pc = Pc()
    pc.enable()
    pc.redirect(2, 0x40)
    pc.outb(0x43, 0x30)
    pc.outb(0x40, 10, 0)
    pc.clock.now_ns += NS_PER_S
    pc.outb(0x43, 0)
    assert pc.take() == 0x40
