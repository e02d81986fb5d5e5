"""A local APIC's timer (SDM 3, 11.5.4)."""

import pytest

from tests.chips.chipsets import LAPIC, Pc, StillClock
from vmm.chips.apic_registers import BASE_BOOT, BASE_ENABLED
from vmm.chips.apic_timer import LEAST_PERIOD_NS

LVT_TIMER, INITIAL, CURRENT, DIVIDE = 0x320, 0x380, 0x390, 0x3e0
PERIODIC, DEADLINE, MASKED = 1 << 17, 2 << 17, 1 << 16
BY_1 = 0xb
MS = 1_000_000


@pytest.fixture
def pc():
    pc = Pc()
    pc.enable()
    pc.apic_write(DIVIDE, BY_1)
    return pc


def taken(pc):
    vector = pc.take()
    pc.apic_write(0xb0, 0)
    return vector


@pytest.mark.parametrize("value, divisor", [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_divisors(pc, value, divisor):
    pc.apic_write(DIVIDE, value | 4)
    assert pc.apic_read(DIVIDE) == value
    pc.apic_write(INITIAL, 1000)
    assert pc.chips.next_ns() == pc.clock.now_ns + 1000 * divisor


def test_one_shot(pc):
    pc.apic_write(LVT_TIMER, 0x40)
    pc.apic_write(INITIAL, MS)
    assert pc.apic_read(CURRENT) == MS
    pc.passes(MS // 4)
    assert pc.apic_read(CURRENT) == 3 * MS // 4 and taken(pc) is None
    pc.passes(MS)
    assert pc.apic_read(CURRENT) == 0 and pc.apic_read(INITIAL) == MS
    assert taken(pc) == 0x40 and taken(pc) is None and pc.chips.next_ns() is None


def test_periodic(pc):
    pc.apic_write(LVT_TIMER, 0x40 | PERIODIC)
    pc.apic_write(INITIAL, MS)
    for _ in range(5):
        pc.passes(MS - 1)
        assert taken(pc) is None and pc.apic_read(CURRENT) == 1
        pc.passes(1)
        assert taken(pc) == 0x40 and pc.apic_read(CURRENT) == MS
    pc.clock.now_ns += 10 * MS + MS // 2        # nobody looks
    pc.chips.tick()
    assert taken(pc) == 0x40 and taken(pc) is None and pc.apic_read(CURRENT) == MS // 2
    pc.apic_write(INITIAL, 0)
    assert pc.chips.next_ns() is None


def test_a_short_period_is_a_longer_one(pc):
    pc.apic_write(LVT_TIMER, 0x40 | PERIODIC)
    pc.apic_write(INITIAL, 1)
    assert pc.chips.next_ns() == pc.clock.now_ns + LEAST_PERIOD_NS


def test_masked_it_counts_and_says_nothing(pc):
    pc.apic_write(LVT_TIMER, 0x40 | MASKED)
    pc.apic_write(INITIAL, MS)
    pc.passes(2 * MS)
    pc.apic_write(LVT_TIMER, 0x40)
    assert taken(pc) is None


def test_a_new_divisor_keeps_what_is_left(pc):
    pc.apic_write(LVT_TIMER, 0x40)
    pc.apic_write(INITIAL, 1000)
    pc.passes(400)
    pc.apic_write(DIVIDE, 0)
    assert pc.apic_read(CURRENT) == 600
    pc.passes(1199)
    assert taken(pc) is None
    pc.passes(1)
    assert taken(pc) == 0x40


def test_between_one_shot_and_periodic_it_runs_on(pc):
    pc.apic_write(LVT_TIMER, 0x40)
    pc.apic_write(INITIAL, MS)
    pc.passes(MS // 2)
    pc.apic_write(LVT_TIMER, 0x40 | PERIODIC)
    assert pc.apic_read(CURRENT) == MS // 2
    pc.apic_write(LVT_TIMER, 0x40 | DEADLINE)
    assert pc.apic_read(CURRENT) == pc.apic_read(INITIAL) == 0 and pc.chips.next_ns() is None


def test_deadlines(pc):
    """Of the time-stamp counter; only in that mode, and of the mode's own."""
    apic = pc.chips.apic(0)
    apic.set_deadline(1 << 40)
    assert apic.deadline == 0
    pc.apic_write(LVT_TIMER, 0x40 | DEADLINE)
    pc.apic_write(INITIAL, 1000)
    assert pc.chips.next_ns() is None
    now = pc.clock.tsc(pc.clock.now_ns)
    apic.set_deadline(now + MS)
    assert apic.deadline == now + MS and pc.chips.next_ns() == pc.clock.now_ns + MS
    pc.passes(MS)
    assert taken(pc) == 0x40 and apic.deadline == 0
    apic.set_deadline(now)                      # is over
    assert taken(pc) == 0x40 and apic.deadline == 0
    apic.set_deadline(now + 10 * MS)
    apic.set_deadline(0)
    assert pc.chips.next_ns() is None


def test_a_deadline_is_of_the_vcpus_counter(pc):
    apic = pc.chips.apic(0)
    apic.set_tsc_offset(-pc.clock.tsc(pc.clock.now_ns))         # it begins now
    pc.apic_write(LVT_TIMER, 0x40 | DEADLINE)
    apic.set_deadline(5 * MS)
    assert pc.chips.next_ns() == pc.clock.now_ns + 5 * MS


def test_what_the_counter_has():
    clock = StillClock(tsc_khz=2_500_000)
    assert clock.tsc(1000) == 2500 and clock.ns_of_ticks(2500) == 1000 and clock.ns_of_ticks(2501) == 1001


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_there_and_back(pc, mode):
    pc.apic_write(LVT_TIMER, 0x40 | mode)
    pc.apic_write(INITIAL, MS)
    pc.passes(MS // 4)
    other = Pc()
    other.chips.apic(0).load(pc.chips.apic(0).store(), LAPIC | BASE_ENABLED | BASE_BOOT)
    other.passes(3 * MS // 4 - 1)
    assert taken(other) is None
    other.passes(1)
    assert taken(other) == 0x40
    other.passes(MS)
    assert taken(other) == (0x40 if mode else None)


def test_a_deadline_there_and_back(pc):
    pc.apic_write(LVT_TIMER, 0x40 | DEADLINE)
    apic, other = pc.chips.apic(0), Pc()
    apic.set_deadline(pc.clock.tsc(pc.clock.now_ns) + MS)
    other.chips.apic(0).load(apic.store(), apic.base, apic.deadline)
    other.passes(MS)
    assert taken(other) == 0x40
