"""The 8254 against KVM's own (both.py)."""

import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.both import BYTE, Both, alike, sequences
from tests.chips.in_kernel import Access, InKernel
from vmm.chips.pit_channel import Channel
from vmm.chips.state import take

pytestmark = pytest.mark.usefixtures("kvm")


NOT_DECIMAL = BYTE.map(lambda value: value & ~1 if value < 0xc0 else value)
PIT_STEP = st.one_of(
    st.tuples(st.just("write"), st.tuples(st.just(0x43), NOT_DECIMAL)),
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
            assert alike(kvm.pit(), take(both.pc.chips)["counters"], but=("latched_count", "status", "write_latch"))


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
