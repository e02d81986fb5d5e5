"""The 8259As against KVM's own (both.py)."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.both import BYTE, Both, alike, sequences
from tests.chips.in_kernel import Access, InKernel
from vmm.chips.state import take

pytestmark = pytest.mark.usefixtures("kvm")


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
            assert alike(kvm.state()["pics"], take(both.pc.chips)["pics"])
