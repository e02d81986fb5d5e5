"""The I/O APIC and local APICs against KVM's own (both.py)."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.apic_steps import APIC_STEP, COMMAND, MSI, PRIORITY, VECTOR, do_apic_step, same_apics
from tests.chips.both import WORD, Both, sequences
from tests.chips.chipsets import LAPIC
from tests.chips.in_kernel import Access, InKernel

pytestmark = pytest.mark.usefixtures("kvm")


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
@given(st.lists(VECTOR, min_size=1, max_size=8), PRIORITY)
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
    st.tuples(st.just(0x808), PRIORITY), st.tuples(st.just(0x80b), st.just(0)),
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
