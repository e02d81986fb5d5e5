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
| 8254, modes 1, 5 | begin with the count | begin with the gate's edge | data sheet |
| local APIC, vectors 0 to 15 | are requested, and never come | an error, in ESR | SDM 3, 11.5.2 |
| local APIC, ESR | reads as 0 | has errors | SDM 3, 11.5.3 |
| odd widths and registers that there are not | leave in the guest what was there | read as 0 | nobody depends on what was there |
"""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chips.chipsets import IOAPIC, LAPIC, Pc
from tests.chips.in_kernel import Access, InKernel
from tests.scale import scaled

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
        theirs = self.kvm.do(access) & (1 << 8 * width) - 1
        pc = self.pc
        if bus == "msr":
            apic = pc.chips.apic(0)
            return theirs, apic.read_msr(address) if value is None else apic.write_msr(address, value)
        space, at = (pc.ports, address) if bus == "port" else (pc.memory, address)
        if bus == "memory" and address >= LAPIC:
            space, at = pc.chips.apic(0), address - LAPIC
        if value is None:
            return theirs, space.read(at, width)
        return theirs, space.write(at, width, value)

    def set_line(self, gsi, level):
        self.kvm.set_line(gsi, level)
        self.pc.chips.set_level(gsi, level)

    def take(self):
        """The guest takes what is pending, if anything is."""
        if not self.pc.chips.pending(0):
            return
        ours = self.pc.chips.acknowledge(0)
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
