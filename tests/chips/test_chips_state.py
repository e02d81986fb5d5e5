"""The state of the chips that are no CPU's: taken, given, refused; to KVM's and back."""

import copy
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.both import BYTE, alike, sequences
from tests.chips.chipsets import IOAPIC, Pc
from tests.chips.in_kernel import InKernel
from vmm.chips.ioapic import LEVEL
from vmm.chips.pit_channel import ns_of_clocks
from vmm.chips.state import give, take
from vmm.errors import UserError

PORTS = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61]
STEP = st.one_of(st.tuples(st.sampled_from(PORTS), BYTE),
                 st.tuples(st.just(IOAPIC), st.integers(0, 0x3f)),
                 st.tuples(st.just(IOAPIC + 0x10), st.integers(0, 0xffffffff)),
                 st.tuples(st.just(0), st.integers(0, 47)))


def played(steps):
    """A PC that this was done to: writes, and lines that rise or fall."""
    pc = Pc()
    pc.enable()
    for where, value in steps:
        if where >= IOAPIC:
            pc.memory.write(where, 4, value)
        elif where:
            pc.outb(where, value)
        else:
            pc.chips.set_level(value % 24, value >= 24)
    return pc


@given(st.lists(STEP, max_size=60))
def test_there_and_back(steps):
    pc, other = played(steps), Pc()
    other.enable()
    other.clock.now_ns = pc.clock.now_ns
    state = take(pc.chips)
    give(other.chips, copy.deepcopy(state))
    again = take(other.chips)
    assert {**again, "ioapic": 0} == {**state, "ioapic": 0}
    assert other.chips.pic_masks() == pc.chips.pic_masks()
    for old, new in zip(state["ioapic"]["redirtbl"], again["ioapic"]["redirtbl"]):
        assert (old ^ new) & ~(1 << 14) == 0        # a level that was to be served is, if an APIC takes it


@sequences
@given(st.lists(STEP, max_size=60))
def test_to_kvm_and_back(kvm, steps):
    state = take(played(steps).chips)
    for entry in state["ioapic"]["redirtbl"]:
        if entry >> 8 & 7 in (2, 4, 5, 6):      # what would be done to KVM's CPU
            return
    state["ioapic"]["irr"] = 0
    with closing(InKernel()) as there:
        there.set_state(state)
        theirs = there.state()
        assert alike(theirs["pics"], state["pics"]) and theirs["ioapic"] == state["ioapic"]
        back = Pc()
        give(back.chips, theirs)
        assert alike(theirs["pics"], take(back.chips)["pics"]) and take(back.chips)["ioapic"] == state["ioapic"]


def test_a_line_that_is_high_is_served_where_it_is_given():
    pc, other = Pc(), Pc()
    pc.redirect(5, 0x45 | LEVEL)
    pc.chips.set_level(5, True)         # nobody takes it, as no APIC is enabled
    other.enable()
    give(other.chips, take(pc.chips))
    assert other.take() == 0x45


def test_a_counter_that_runs_goes_on_with_its_interrupts():
    pc, other = Pc(), Pc()
    pc.outb(0x43, 0x34)
    pc.outb(0x40, 0xe8, 3)
    give(other.chips, take(pc.chips))
    other.outb(0x21, 0)
    assert other.chips.next_ns() - other.clock.now_ns <= ns_of_clocks(1001)
    other.passes(ns_of_clocks(1001))
    assert other.take() == 0x08


@pytest.mark.parametrize("where, name, value, said", [
    (("pics", 1), "init_state", 4, r"state of pics\[1\]: init_state 4; wanted 0 to 0x3"),
    (("pics", 0), "priority_add", -1, r"pics\[0\]: priority_add -1"), (("ioapic",), "id", 16, "ioapic: id 16"),
    (("ioapic", "redirtbl"), 3, 1 << 64, "ioapic.redirtbl: 3 18446744073709551616"),
    (("counters", 2), "count", 0x10001, r"counters\[2\]: count 65537"), ((), "speaker", "on", "chips: speaker 'on'"),
    (("counters", 0), "count_latched", 4, "count_latched 4; wanted 0 to 0x3")])
def test_what_cannot_be_is_refused_before_anything_is_changed(where, name, value, said):
    pc = Pc()
    before = take(pc.chips)
    state = copy.deepcopy(before)
    state["pics"][0]["imr"] = 0x55
    part = state
    for each in where:
        part = part[each]
    part[name] = value
    with pytest.raises(UserError, match=said):
        give(pc.chips, state)
    assert take(pc.chips) == before


@pytest.mark.parametrize("drop", [("pics",), ("ioapic", "redirtbl"), ("counters", 0, "mode"), ("speaker",)])
def test_what_is_missing_is_said(drop):
    pc = Pc()
    state = take(pc.chips)
    part = state
    for each in drop[:-1]:
        part = part[each]
    del part[drop[-1]]
    with pytest.raises(UserError, match=f"{drop[-1]}"):
        give(pc.chips, state)
