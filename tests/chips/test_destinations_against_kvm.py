"""Who gets a message, of several CPUs, against KVM (both.py)."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.apic_steps import VECTOR, command_of
from tests.chips.both import Both, sequences
from tests.chips.chipsets import LAPIC
from tests.chips.in_kernel import Access, InKernel
from vmm.chips.apic_registers import BASE_BOOT, BASE_ENABLED, DFR, ID, IRR, LDR, SPURIOUS

pytestmark = pytest.mark.usefixtures("kvm")
CPUS = 3
DESTINATION = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 0x11, 0x12, 0x13, 0x21, 0xf1, 0xff, 0xfe])
APIC = st.fixed_dictionaries({
    ID: st.sampled_from([0, 1, 2, 3, 7]), LDR: st.sampled_from([0, 1, 2, 4, 3, 0x11, 0x12, 0x21]),
    DFR: st.sampled_from([0xffffffff, 0x0fffffff]), SPURIOUS: st.sampled_from([0x1ff, 0x1ff, 0xff])})
MESSAGE = st.tuples(VECTOR, DESTINATION, st.booleans(), st.one_of(st.none(), st.integers(0, 3)))


def set_up(both, cpu, registers):
    words = both.kvm.lapic(cpu)
    for at, value in registers.items():
        words[at] = value << 24 if at in (ID, LDR) else value
    both.kvm.set_lapic(words, cpu)
    both.pc.chips.apic(cpu).load(words, LAPIC | BASE_ENABLED | (0 if cpu else BASE_BOOT))


def send(both, vector, destination, logical, shorthand, lowest=False):
    """A device's message, or an IPI of the first CPU's if it has a shorthand (or 0: none)."""
    if shorthand is None:
        both.message(LAPIC | destination << 12 | logical << 2, vector | lowest << 8)
        return
    both.do(Access("memory", LAPIC + 0x310, 4, destination << 24))
    command = command_of(vector, False, True, shorthand) | logical << 11 | lowest << 8
    both.do(Access("memory", LAPIC + 0x300, 4, command))


def requested(words):
    return sum(word << 32 * at for at, word in enumerate(words[IRR:IRR + 8]))


def same(both):
    assert [requested(both.kvm.lapic(cpu)) for cpu in range(CPUS)] == \
        [requested(both.pc.chips.apic(cpu).store()) for cpu in range(CPUS)]


@sequences
@given(st.lists(APIC, min_size=CPUS, max_size=CPUS), st.lists(MESSAGE, max_size=12))
def test_all_that_are_meant(apics, messages):
    with closing(InKernel(CPUS)) as kvm:
        both = Both(kvm)
        for cpu, registers in enumerate(apics):
            set_up(both, cpu, registers)
        for message in messages:
            send(both, *message)
            same(both)


@sequences
@given(st.lists(st.tuples(VECTOR, st.sampled_from([0x07, 0x03, 0x06, 0x04, 0xff]), st.sampled_from([None, 0])),
                max_size=12))
def test_one_of_several(messages):
    """Lowest priority: KVM picks by the vector, and so do we."""
    with closing(InKernel(CPUS)) as kvm:
        both = Both(kvm)
        for cpu in range(CPUS):
            set_up(both, cpu, {LDR: 1 << cpu, SPURIOUS: 0x1ff})
        for vector, destination, shorthand in messages:
            send(both, vector, destination, True, shorthand, lowest=True)
            same(both)
