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
| local APIC, TPR | SVM keeps the upper half alone (sync_cr8_to_lapic) | keeps all of it | SDM 3, figure 11-18 |
| local APIC, ESR | reads as 0 | has errors | SDM 3, 11.5.3 |
| I/O APIC, pin 8 | an edge before the EOI is lost, as KVM_IRQ_LINE tells of that | is an edge | nobody is told |
| lowest priority, logical | lost if the CPU that is picked is not there | one that is there | SDM 3, 11.6.2.4 |
| odd widths, registers that there are not | leave what the guest had | read as 0 | nobody depends on what was there |
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.chips.chipsets import LAPIC, Pc
from tests.chips.in_kernel import Access
from tests.scale import scaled

BYTE = st.integers(0, 0xff)
WORD = st.integers(0, 0xffffffff)
sequences = settings(max_examples=scaled(60), deadline=None, suppress_health_check=list(HealthCheck))


class Both:
    """KVM's and ours."""

    def __init__(self, kvm):
        self.kvm, self.pc = kvm, Pc(len(kvm.vcpus))

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


def alike(theirs, ours, but=()):
    """Whether ours have what theirs do, in the fields that both have, but for these."""
    def compared(states):
        return [{name: state[name] for name in state if name in theirs[0].keys() & ours[0].keys() and name not in but}
                for state in states]
    return compared(theirs) == compared(ours)
