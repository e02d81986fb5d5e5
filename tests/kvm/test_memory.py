"""Guest memory: what lies where, and what does not."""

import pytest

from vmm.errors import UserError
from vmm.kvm.addresses import HIGH_START, LOW_END
from vmm.kvm.memory import GuestAddressError, GuestMemory


def test_memory_bounds():
    memory = GuestMemory(2 << 20)
    memory.write((2 << 20) - 4, b"last")
    assert memory.read((2 << 20) - 4, 4) == b"last"
    for gpa, length in (((2 << 20) - 3, 4), (2 << 20, 1), (2**64 - 1, 2), (-1, 1), (HIGH_START, 1), (LOW_END, 1)):
        with pytest.raises(GuestAddressError):
            memory.read(gpa, length)
    memory.close()


def test_memory_above_the_hole():
    """The largest size is not touched, only reserved: a memfd is sparse."""
    memory = GuestMemory(5 << 30)
    memory.write(LOW_END - 2, b"ab")
    memory.write(HIGH_START, b"cd")
    assert memory.read(LOW_END - 2, 2) == b"ab" and memory.read(HIGH_START, 2) == b"cd"
    with pytest.raises(GuestAddressError):
        memory.read(LOW_END - 1, 2)
    with pytest.raises(GuestAddressError):
        memory.read(HIGH_START + (2 << 30) - 1, 2)
    assert [slot[:2] for slot in memory.slots()] == [(0, LOW_END), (HIGH_START, 2 << 30)]
    memory.close()


@pytest.mark.parametrize("size", [0, 4096, (1 << 20) + 1, 65 << 30])
def test_memory_of_no_use(size):
    with pytest.raises(UserError, match="1 MiB to 64 GiB"):
        GuestMemory(size)
