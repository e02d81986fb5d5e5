"""What is done to the I/O APIC and to local APICs at random, and how it is compared."""

from hypothesis import strategies as st

from tests.chips.both import BYTE, WORD
from tests.chips.chipsets import IOAPIC, LAPIC
from tests.chips.in_kernel import Access

VECTOR = st.integers(16, 255)
PRIORITY = BYTE.map(lambda value: value & 0xf0)
DESTINATION = st.sampled_from([0, 0, 0, 1, 2, 0x11, 0xff])
NOT_COMPARED = (0x0a, 0x28, 0x38, 0x39)     # PPR, which KVM brings up to date when it is read; ESR; counts


def entry_of(vector, external, destination, logical, level, masked):
    return vector | (0x700 if external else 0) | logical << 11 | level << 15 | masked << 16 | destination << 56


ENTRY = st.builds(entry_of, VECTOR, st.sampled_from([False] * 5 + [True]), DESTINATION, st.booleans(), st.booleans(),
                  st.sampled_from([0, 0, 0, 1]))
PIN = st.sampled_from([0, 1, 3, 4, 5, 16, 23])


def command_of(vector, level, asserted, shorthand):
    return vector | asserted << 14 | level << 15 | shorthand << 18


def msi_of(vector, destination, logical, level):
    return LAPIC | destination << 12 | logical << 2, vector | 1 << 14 | level << 15


COMMAND = st.builds(command_of, VECTOR, st.booleans(), st.booleans(), st.integers(0, 3))
MSI = st.builds(msi_of, VECTOR, DESTINATION, st.booleans(), st.booleans())
LAPIC_WRITE = st.one_of(
    st.tuples(st.just(0x80), PRIORITY), st.tuples(st.just(0xb0), st.just(0)),
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
    if what == "apic":
        both.do(Access("memory", LAPIC + given_[0], 4, given_[1]))
    elif what == "read apic":
        theirs, ours = both.do(Access("memory", LAPIC + given_[0], given_[1]))
        assert theirs == ours
    elif what == "entry":
        for half in (1, 0):
            both.do(Access("memory", IOAPIC, 4, 0x10 + 2 * given_[0] + half))
            both.do(Access("memory", IOAPIC + 0x10, 4, given_[1] >> 32 * half & 0xffffffff))
    elif what == "select":
        both.do(Access("memory", IOAPIC, given_[1], given_[0]))
    elif what == "window":
        theirs, ours = both.do(Access("memory", IOAPIC + 0x10, given_))
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
    assert (theirs["ioregsel"], theirs["id"], theirs["redirtbl"]) == (ours.selected, ours.id, ours.entries)
