"""What a guest has its emulated vCPU do that no friendly one does: it ends that guest at most, and says why."""

import pytest

pytest.importorskip("unicorn")

from tests.emulated.bare import CODE, HALT, bare  # noqa: E402

SYSCALL_ENABLE = 1


@pytest.fixture
def guest():
    with bare() as made:
        yield made


def test_the_highest_selectors_of_syscalls(guest):
    """The stack's is 8 higher, in 16 bits."""
    guest.start(b"\x0f\x05" + HALT, long=True)
    guest.state.control.efer |= SYSCALL_ENABLE
    guest.state.msrs.star, guest.state.msrs.lstar = 0xffff << 32, CODE + 2
    guest.run()
    assert guest.state.segments.cs.selector == 0xfffc and guest.state.segments.ss.selector == 4


def test_the_highest_selectors_of_sysenter(guest):
    guest.start(b"\x0f\x34" + HALT)
    guest.state.msrs.sysenter_cs, guest.state.msrs.sysenter_eip = 0xffff, CODE + 2
    guest.run()
    assert guest.state.segments.cs.selector == 0xfffc and guest.state.segments.ss.selector == 4
