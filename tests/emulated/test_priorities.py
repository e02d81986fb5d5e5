"""What is held back from an emulated vCPU, and when it is no longer: interrupts by cr8, NMIs while one is served."""

import pytest

pytest.importorskip("unicorn")

from tests.emulated.bare import CODE, HALT, bare
from vmm.devmodel.vcpu import Activity

VECTOR = 0x1f                   # of priority class 1
SPURIOUS, ENABLE = 0xf0, 0x1ff  # an offset in the APIC's page, and software's switch there
MESSAGES, PROTECTION = 0xfee00000, 13


@pytest.fixture
def guest():
    with bare() as made:
        made.vcpu.apic.write(SPURIOUS, 4, ENABLE)
        yield made


def test_an_interrupt_that_a_write_of_cr8_lets_through(guest):
    """It comes before the next instruction."""
    # sti; nop; mov %rbx, %cr8; inc %ecx
    guest.start(bytes.fromhex("fb 90 440f22c3 ffc1") + HALT, long=True)
    guest.vcpu.apic.set_cr8(1)
    guest.vm.chips.message(MESSAGES, VECTOR)
    guest.run()
    assert guest.fault == VECTOR and guest.state.general.rcx == 0


def test_the_shadow_of_sti_is_over_behind_it(guest):
    """And not one instruction later."""
    guest.start(bytes.fromhex("fb 440f22c3 ffc1") + HALT, long=True)       # sti; mov %rbx, %cr8; inc %ecx
    guest.vm.chips.message(MESSAGES, VECTOR)
    guest.run()
    assert guest.fault == VECTOR and guest.state.general.rcx == 0


def test_the_last_write_of_a_priority_counts(guest):
    """By memory, then by cr8."""
    # mov dword [rdx + 0x80], 0x20; mov %rbx, %cr8
    guest.start(bytes.fromhex("c7828000000020000000 440f22c3") + HALT, long=True, rdx=MESSAGES)
    guest.run()
    assert guest.vcpu.apic.cr8 == 0 and guest.fault is None


def test_a_priority_that_there_is_not(guest):
    guest.start(bytes.fromhex("440f22c3") + HALT, long=True, rbx=16)
    guest.run()
    assert guest.fault == PROTECTION


def test_a_masked_nmi_does_not_wake(guest):
    """It waits for IRET (SDM 3, 6.7.1)."""
    guest.start(b"\xf4" + HALT)
    guest.state.events.nmi_masked = 1
    guest.run()
    guest.vcpu.tell("nmi")
    for _ in range(2):
        guest.vcpu.advance()
    assert guest.state.activity == Activity.HALTED and guest.state.general.rip == CODE + 1
    assert guest.state.events.nmi_pending == 1
