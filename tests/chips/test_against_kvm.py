"""The chips against KVM's own: the same accesses and lines, and the same state after each.

Where both differ, and why; sequences keep off these, and test_pic.py and so on have them from the data sheets:

| where | KVM | ours | why |
|---|---|---|---|
| 8259A, poll | no bit 7, and nothing in service | an acknowledgement, with bit 7 | data sheet, "Poll Command" |
| 8259A, special mask mode | is kept, and changes nothing | masked pins in service keep nobody out | data sheet, OCW3 |
| 8254, mode 2 | OUT is high for one clock | low for one | data sheet, "Mode 2" |
| 8254, status | null count is never set | until the count is loaded | data sheet, figure 12 |
| 8254, a new count in modes 2, 3 | begins a period | waits for the end of the period, or its half | data sheet |
| 8254, BCD | is kept, and counts in binary | counts in decimal | data sheet |
| 8254, control word | counting goes on | waits for a count | data sheet, "Write Operations" |
| 8254, control word | a latched count stays | is latched no more | data sheet, "Counter Latch Command" |
| 8254, modes 1, 5 | begin with the count | begin with the gate's edge | data sheet |
| local APIC, vectors 0 to 15 | are requested, and never come | an error, in ESR | SDM 3, 11.5.2 |
| local APIC, ESR | reads as 0 | has errors | SDM 3, 11.5.3 |
| I/O APIC, pin 8 | an edge before the EOI is lost, as KVM_IRQ_LINE tells of that | is an edge | nobody is told |
| lowest priority, logical | is lost if the CPU that is picked is not there | one that is there is picked | SDM 3, 11.6.2.4 |
| odd widths and registers that there are not | leave in the guest what was there | read as 0 | nobody depends on what was there |
"""

import time
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chips.chipsets import IOAPIC, LAPIC, Pc
from tests.chips.in_kernel import Access, InKernel
from tests.scale import scaled
from vmm.chips.pit_channel import Channel

pytestmark = pytest.mark.usefixtures("kvm")
BYTE = st.integers(0, 0xff)
WORD = st.integers(0, 0xffffffff)
sequences = settings(max_examples=scaled(60), deadline=None, suppress_health_check=list(HealthCheck))


class Both:
    """KVM's and ours."""

    def __init__(self, kvm):
        self.kvm, self.pc = kvm, Pc()

    def do(self, access: Access):
        """What each read."""
        bus, address, width, value = access
        theirs, pc = self.kvm.do(access), self.pc
        if bus == "msr":
            apic = pc.chips.apic(0)
            if value is not None:
                return theirs is not None, apic.write_msr(address, value)
            ours = apic.read_msr(address)
            return theirs, ours if ours is None else ours & 0xffffffff
        theirs &= (1 << 8 * width) - 1
        space, at = (pc.ports, address) if bus == "port" else (pc.memory, address)
        if bus == "memory" and address >= LAPIC:
            space, at = pc.chips.apic(0), address - LAPIC
        if value is None:
            return theirs, space.read(at, width)
        return theirs, space.write(at, width, value)

    def set_line(self, gsi, level):
        self.kvm.set_line(gsi, level)
        self.pc.chips.set_level(gsi, level)

    def message(self, address, data):
        self.kvm.message(address, data)
        self.pc.chips.message(address, data)

    def take(self):
        """The guest takes what is pending, if anything is."""
        if not self.pc.chips.pending(0):
            return
        ours = self.pc.chips.acknowledge(0)
        if self.pc.chips.apic(0).store()[0x10 + ours // 32] >> ours % 32 & 1:
            self.kvm.put_in_service(ours)
        else:
            assert self.kvm.interrupted() == ours


def pic_state(pic):
    return {"last_irr": pic.lines, "irr": pic.irr, "imr": pic.imr, "isr": pic.isr, "priority_add": pic.top,
            "irq_base": pic.base, "read_reg_select": pic.read_isr, "poll": pic.poll, "special_mask": pic.special_mask,
            "init_state": pic.step, "auto_eoi": pic.auto_eoi, "rotate_on_auto_eoi": pic.rotate_on_auto_eoi,
            "special_fully_nested_mode": pic.fully_nested, "init4": pic.wants_icw4, "elcr": pic.level,
            "elcr_mask": pic.level_allowed}


def no_known_difference(value):
    """OCW3 without poll and special mask mode."""
    return value & ~0x64 if value & 0x18 == 0x08 else value


COMMANDS = st.tuples(st.sampled_from([0x20, 0xa0]), BYTE.map(no_known_difference))
DATA = st.tuples(st.sampled_from([0x21, 0xa1, 0x4d0, 0x4d1]), BYTE)
MASKS = st.tuples(st.sampled_from([0x21, 0xa1]), st.sampled_from([0, 0, 0xf0, 0xfb]))
PIC_STEP = st.one_of(
    st.tuples(st.just("write"), st.one_of(COMMANDS, DATA, MASKS)),
    st.tuples(st.just("read"), st.sampled_from([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1])),
    st.tuples(st.just("line"), st.tuples(st.sampled_from([0, 1, *range(3, 16)]), st.booleans())),
    st.tuples(st.just("take"), st.none()))


@sequences
@given(st.lists(PIC_STEP, max_size=60))
def test_8259s(steps):
    with closing(InKernel()) as kvm:
        both = Both(kvm)
        for port, values in ((0x20, (0x11,)), (0x21, (0x20, 4, 1, 0)), (0xa0, (0x11,)), (0xa1, (0x28, 2, 1, 0))):
            for value in values:
                both.do(Access("port", port, 1, value))
        for what, given_ in steps:
            if what == "write":
                both.do(Access("port", given_[0], 1, given_[1]))
            elif what == "read":
                theirs, ours = both.do(Access("port", given_))
                assert theirs == ours
            elif what == "line":
                both.set_line(*given_)
            else:
                both.take()
            pics = both.pc.chips.pics
            assert [kvm.pic(0), kvm.pic(1)] == [pic_state(pics.first), pic_state(pics.second)]


# I/O APIC and local APIC

VECTOR = st.integers(16, 255)
DESTINATION = st.sampled_from([0, 0, 0, 1, 2, 0x11, 0xff])
NOT_COMPARED = (0x0a, 0x28, 0x38, 0x39)         # PPR, which KVM brings up to date as it is read; ESR; the timer's counts


def entry_of(vector, external, destination, logical, level, masked):
    return vector | (0x700 if external else 0) | logical << 11 | level << 15 | masked << 16 | destination << 56


ENTRY = st.builds(entry_of, VECTOR, st.sampled_from([False] * 5 + [True]), DESTINATION, st.booleans(), st.booleans(),
                  st.sampled_from([0, 0, 0, 1]))
PIN = st.sampled_from([0, 1, 3, 4, 5, 16, 23])
COMMAND = st.builds(lambda vector, lowest, level, asserted, shorthand: vector | lowest << 8 | level << 15 |
                    asserted << 14 | shorthand << 18, VECTOR, st.just(0), st.booleans(), st.booleans(),
                    st.integers(0, 3))
MSI = st.builds(lambda vector, destination, logical, hint, level: (
    LAPIC | destination << 12 | hint << 3 | logical << 2, vector | 1 << 14 | level << 15),
    VECTOR, DESTINATION, st.booleans(), st.just(0), st.booleans())
LAPIC_WRITE = st.one_of(
    st.tuples(st.just(0x80), BYTE), st.tuples(st.just(0xb0), st.just(0)),
    st.tuples(st.just(0xd0), st.sampled_from([0, 1 << 24, 2 << 24, 0x11 << 24])),
    st.tuples(st.just(0xe0), st.sampled_from([0, 0xf0000000])), st.tuples(st.just(0xf0), WORD),
    st.tuples(st.just(0xf0), st.just(0x1ff)),
    st.tuples(st.just(0x20), st.sampled_from([0, 1 << 24])),
    st.tuples(st.just(0x300), COMMAND), st.tuples(st.just(0x310), DESTINATION.map(lambda at: at << 24)),
    st.tuples(st.sampled_from([0x320, 0x330, 0x340, 0x350, 0x360, 0x370]), WORD.map(lambda value: value | 1 << 16)),
    st.tuples(st.sampled_from([0x380, 0x3e0, 0x30, 0x90, 0xa0, 0x100, 0x2f0, 0x3f0]), WORD))
READABLE_OFFSETS = [0x20, 0x30, 0x80, 0x90, 0xa0, 0xd0, 0xe0, 0xf0, 0x100, 0x170, 0x180, 0x1f0, 0x200, 0x270, 0x300,
                    0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3e0]
APIC_STEP = st.one_of(
    st.tuples(st.just("apic"), LAPIC_WRITE),
    st.tuples(st.just("read apic"), st.tuples(st.sampled_from(READABLE_OFFSETS), st.sampled_from([1, 2, 4]))),
    st.tuples(st.just("entry"), st.tuples(PIN, ENTRY)),
    st.tuples(st.just("select"), st.tuples(BYTE, st.sampled_from([1, 2, 4]))),
    st.tuples(st.just("window"), st.sampled_from([1, 2, 4])),
    st.tuples(st.just("line"), st.tuples(PIN, st.booleans())),
    st.tuples(st.just("msi"), MSI),
    st.tuples(st.just("take"), st.none()))


def do_apic_step(both, what, given_):
    memory = "memory"
    if what == "apic":
        both.do(Access(memory, LAPIC + given_[0], 4, given_[1]))
    elif what == "read apic":
        theirs, ours = both.do(Access(memory, LAPIC + given_[0], given_[1]))
        assert theirs == ours
    elif what == "entry":
        for half in (1, 0):
            both.do(Access(memory, IOAPIC, 4, 0x10 + 2 * given_[0] + half))
            both.do(Access(memory, IOAPIC + 0x10, 4, given_[1] >> 32 * half & 0xffffffff))
    elif what == "select":
        both.do(Access(memory, IOAPIC, given_[1], given_[0]))
    elif what == "window":
        theirs, ours = both.do(Access(memory, IOAPIC + 0x10, given_))
        assert theirs == ours
    elif what == "line":
        both.set_line(*given_)
    elif what == "msi":
        both.message(*given_)
    else:
        both.take()


def compared(registers):
    return [0 if at in NOT_COMPARED else value for at, value in enumerate(registers)]


def same_apics(both):
    kvm, pc = both.kvm, both.pc
    assert compared(kvm.lapic()) == compared(pc.chips.apic(0).store())
    theirs = kvm.ioapic()
    ours = pc.chips.ioapic
    assert (theirs["selected"], theirs["id"], theirs["entries"]) == (ours.selected, ours.id, ours.entries)


@sequences
@given(st.lists(APIC_STEP, max_size=60))
def test_apics(steps):
    with closing(InKernel()) as kvm:
        both = Both(kvm)
        both.do(Access("memory", LAPIC + 0xf0, 4, 0x1ff))
        for what, given_ in steps:
            do_apic_step(both, what, given_)
            same_apics(both)


@sequences
@given(st.lists(VECTOR, min_size=1, max_size=8), BYTE)
def test_the_vector_that_is_taken(vectors, priority):
    """The highest one first, and none that the task's priority keeps out."""
    with closing(InKernel()) as kvm:
        both = Both(kvm)
        both.do(Access("memory", LAPIC + 0xf0, 4, 0x1ff))
        for vector in vectors:
            both.message(LAPIC, vector)
        both.do(Access("memory", LAPIC + 0x80, 4, priority))
        while both.pc.chips.pending(0):
            assert kvm.interrupted() == both.pc.chips.acknowledge(0)
            both.pc.apic_write(0xb0, 0)
            kvm.do(Access("memory", LAPIC + 0xb0, 4, 0))
        same_apics(both)


BASE_MSR, X2APIC, ENABLED, BOOT = 0x1b, 1 << 10, 1 << 11, 1 << 8
LONG_COMMAND = st.builds(lambda command, destination: command & ~(3 << 16 | 1 << 13) | destination << 32, COMMAND,
                         st.sampled_from([0, 1, 0x11, 0xff, 0x10001, 0xffffffff]))
MSR_WRITE = st.one_of(
    st.tuples(st.just(0x808), BYTE), st.tuples(st.just(0x80b), st.just(0)),
    st.tuples(st.just(0x80f), WORD), st.tuples(st.just(0x80f), st.just(0x1ff)),
    st.tuples(st.just(0x830), LONG_COMMAND), st.tuples(st.just(0x83f), st.integers(16, 0x110)),
    st.tuples(st.integers(0x832, 0x837), WORD.map(lambda value: value | 1 << 16)),
    st.tuples(st.sampled_from([0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x828, 0x82f, 0x831, 0x83e, 0x8ff]), WORD),
    st.tuples(st.sampled_from([0x808, 0x83e]), st.just(1 << 40)))
MSR_STEP = st.one_of(
    st.tuples(st.just("msr"), MSR_WRITE),
    st.tuples(st.just("read msr"), st.one_of(st.integers(0x800, 0x827), st.integers(0x829, 0x837),
                                             st.integers(0x83a, 0x840))),
    st.tuples(st.just("msi"), MSI), st.tuples(st.just("take"), st.none()))


@sequences
@given(st.lists(MSR_STEP, max_size=40))
def test_x2apic(steps):
    with closing(InKernel()) as kvm:
        both = Both(kvm)
        assert kvm.do(Access("msr", BASE_MSR, 4, LAPIC | ENABLED | BOOT | X2APIC)) is not None
        assert both.pc.chips.apic(0).set_base(LAPIC | ENABLED | BOOT | X2APIC)
        both.do(Access("msr", 0x80f, 4, 0x1ff))
        for what, given_ in steps:
            if what == "msr":
                theirs, ours = both.do(Access("msr", given_[0], 4, given_[1]))
                assert theirs == ours
            elif what == "read msr":
                theirs, ours = both.do(Access("msr", given_))
                assert theirs == ours
            else:
                do_apic_step(both, what, given_)
            same_apics(both)


MODES_OF_BASE = st.sampled_from([0, ENABLED, X2APIC, ENABLED | X2APIC])


@sequences
@given(st.lists(st.tuples(MODES_OF_BASE, st.sampled_from([0, 0, 0, 1, 0x200])), max_size=8))
def test_modes_of_the_local_apic(bases):
    """Ways between them that there are not are faults."""
    with closing(InKernel()) as kvm:
        both, apic = Both(kvm), None
        apic = both.pc.chips.apic(0)
        for mode, reserved in bases:
            base = LAPIC | BOOT | mode | reserved
            assert (kvm.do(Access("msr", BASE_MSR, 4, base)) is not None) == apic.set_base(base)
            assert kvm.do(Access("msr", BASE_MSR)) == apic.base
            same_apics(both)


# timers

def pit_state(channel):
    """What does not go on by itself."""
    latched = len(channel.latched)
    half = {0: 0, 1: channel.access if channel.access != 3 else 2, 2: 3}[latched]
    both = channel.access == 3
    return {"count": channel.written, "count_latched": half, "status_latched": channel.latched_status is not None,
            "read_state": 3 + channel.reads_high if both else channel.access,
            "write_state": 3 + (channel.low_byte is not None) if both else channel.access, "rw_mode": channel.access,
            "mode": channel.mode, "bcd": channel.bcd, "gate": channel.gate}


PIT_STEP = st.one_of(
    st.tuples(st.just("write"), st.tuples(st.just(0x43), BYTE.map(lambda value: value & ~1 if value < 0xc0 else value))),
    st.tuples(st.just("write"), st.tuples(st.sampled_from([0x40, 0x41, 0x42]), BYTE)),
    st.tuples(st.just("write"), st.tuples(st.just(0x61), BYTE)),
    st.tuples(st.just("read"), st.sampled_from([0x40, 0x41, 0x42])))


@sequences
@given(st.lists(PIT_STEP, max_size=60))
def test_8254(steps):
    """Everything but the counts, which go on."""
    with closing(InKernel()) as kvm:
        both = Both(kvm)
        for channel in range(3):
            both.do(Access("port", 0x43, 1, channel << 6 | 0x10))
        for what, given_ in steps:
            if what == "write" and given_[0] == 0x43 and given_[1] < 0xc0 and given_[1] & 0x30:
                read_what_is_latched(both, given_[1] >> 6)
            both.do(Access("port", given_[0], 1, given_[1]) if what == "write" else Access("port", given_))
            theirs = kvm.pit()
            ours = [pit_state(channel) for channel in both.pc.chips.pit.channels]
            assert [{name: state[name] for name in ours[0]} for state in theirs] == ours


def read_what_is_latched(both, number):
    channel = both.pc.chips.pit.channels[number]
    while channel.latched or channel.latched_status is not None:
        both.do(Access("port", 0x40 + number))


@pytest.mark.parametrize("mode", [0, 2, 3])
def test_the_8254_counts_as_fast(mode):
    """What is read of KVM's is between what ours has for the shortest and the longest time that may have gone by."""
    ours = Channel(gate=True)
    ours.control(3, mode, False)
    ours.write(0, 0)
    ours.write(0xfe, 0)
    with closing(InKernel()) as kvm:
        for port, value in ((0x61, 1), (0x43, 0xb0 | mode << 1), (0x42, 0)):
            kvm.do(Access("port", port, 1, value))
        before_ns = time.monotonic_ns()
        kvm.do(Access("port", 0x42, 1, 0xfe))
        loaded_ns = time.monotonic_ns()
        for _ in range(10):
            least_ns = time.monotonic_ns() - loaded_ns
            kvm.do(Access("port", 0x43, 1, 0x80))
            most_ns = time.monotonic_ns() - before_ns
            theirs = kvm.do(Access("port", 0x42)) | kvm.do(Access("port", 0x42)) << 8
            least, most = ours.value(most_ns), ours.value(least_ns)
            assert least > most or least - 2 <= theirs <= most + 2      # above: it has begun anew in between


MASKED, PERIODIC = 1 << 16, 1 << 17
LATE = 20_000_000       # counts, of a nanosecond each, that a guest's accesses take at most


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_the_timers_count_moves_there_and_back(mode):
    """What is left of it, less what went by meanwhile."""
    initial = 3_000_000_000
    with closing(InKernel()) as kvm:
        for offset, value in ((0xf0, 0x1ff), (0x320, MASKED | mode | 0x40), (0x3e0, 0xb), (0x380, initial)):
            kvm.do(Access("memory", LAPIC + offset, 4, value))
        pc = Pc()
        taken = kvm.lapic()
        assert initial - LATE < taken[0x39] < initial
        apic = pc.chips.apic(0)
        apic.load(taken, LAPIC | ENABLED | BOOT)
        assert apic.store() == taken
        pc.passes(1_000_000_000)
        stored = apic.store()
        assert stored[0x39] == taken[0x39] - 1_000_000_000
        kvm.set_lapic(stored)
        again = kvm.lapic()
        assert compared(again) == compared(stored) and again[0x38] == initial
        assert stored[0x39] - LATE < again[0x39] < stored[0x39]


@sequences
@given(st.lists(APIC_STEP, max_size=30))
def test_a_local_apics_state_moves_without_loss(steps):
    """From KVM's to ours and out of that, bit by bit; and on to another of KVM's."""
    with closing(InKernel()) as kvm, closing(InKernel()) as other:
        both = Both(kvm)
        both.do(Access("memory", LAPIC + 0xf0, 4, 0x1ff))
        for what, given_ in steps:
            do_apic_step(both, what, given_)
        taken, apic = kvm.lapic(), Pc().chips.apic(0)
        apic.load(taken, LAPIC | ENABLED | BOOT)
        stored = apic.store()
        assert compared(stored) == compared(taken)
        other.set_lapic(stored)
        assert compared(other.lapic()) == compared(taken)
