"""Local APICs' state, from KVM's to ours and back."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chips.apic_steps import APIC_STEP, compared, do_apic_step
from tests.chips.both import Both, sequences
from tests.chips.chipsets import LAPIC, Pc
from tests.chips.in_kernel import Access, InKernel

pytestmark = pytest.mark.usefixtures("kvm")
BOOT, X2APIC, ENABLED = 1 << 8, 1 << 10, 1 << 11       # of IA32_APIC_BASE
MASKED, PERIODIC = 1 << 16, 1 << 17
LATE = 500_000_000      # counts, of a nanosecond each, that accesses of the guest take at most


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


def test_an_x2apics_state_moves_without_loss():
    """KVM has its number where xAPIC mode does, and the command's upper half in a register of its own."""
    base = LAPIC | BOOT | X2APIC | ENABLED
    with closing(InKernel()) as kvm, closing(InKernel()) as other:
        for each in (kvm, other):
            assert each.do(Access("msr", 0x1b, 4, base)) is not None
        for msr, value in ((0x80f, 0x1ff), (0x808, 0x20), (0x830, 0x51 | 7 << 32), (0x83f, 0x44), (0x835, 0x10700)):
            kvm.do(Access("msr", msr, 4, value))
        taken, apic = kvm.lapic(), Pc().chips.apic(0)
        apic.load(taken, base)
        stored = apic.store()
        assert compared(stored) == compared(taken) and apic.read_msr(0x830) == 0x51 | 7 << 32
        assert apic.read_msr(0x822) == 1 << 4
        other.set_lapic(stored)
        assert compared(other.lapic()) == compared(taken)
