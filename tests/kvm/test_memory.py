"""Guest memory: what lies where, and what does not."""

from contextlib import closing
from pathlib import Path

import pytest

from vmm.errors import UserError
from vmm.kvm.addresses import HIGH_START, LOW_END
from vmm.kvm.bpf import Maps
from vmm.kvm.memory import GuestAddressError, GuestMemory, element_for
from vmm.machine import ram
from vmm.machine.ram import Ram


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


def test_private_memory_in_huge_pages():
    """What is touched is, where the kernel has them; and all is gone when it is closed."""
    memory = GuestMemory(8 << 20, private=True)
    assert memory.kind == "private" and memory.address % (2 << 20) == 0
    memory.write(3 << 20, b"x" * 4096)
    assert memory.read(3 << 20, 2) == b"xx" and memory.read(0, 8) == bytes(8)
    assert memory.huge_bytes() in (0, 2 << 20, 4 << 20)     # by what this host has left of them
    at = memory.address
    memory.close()
    assert f"{at:x}-" not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(("mib", "element", "taken"), [
    (1, 1, 1), (300, 300, 300), (512, 512, 512), (513, 64, 576), (600, 128, 640), (768, 256, 768), (1024, 512, 1024),
    (1100, 128, 1152), (1536, 512, 1536), (3000, 512, 3072), (65536, 512, 65536)])
def test_map_elements(mib, element, taken):
    """MiB in one, and in all of them: at most an eighth more than was asked for."""
    found = element_for(mib << 20)
    assert (found >> 20, -(-(mib << 20) // found) * found >> 20) == (element, taken)


def test_memory_of_several_elements(bpf):
    """Contiguous, and no more is taken than that."""
    with closing(Maps()) as maps, closing(GuestMemory(768 << 20, maps)) as memory:
        assert Path(f"/proc/self/fdinfo/{memory.map_fd}").read_text().count("max_entries:\t3") == 1
        for boundary in (256 << 20, 512 << 20):
            memory.write(boundary - 2, b"abcd")
            assert memory.read(boundary - 2, 4) == b"abcd"
        layout, _ = memory.layout()
        assert (layout.element, layout.shift) == (256 << 20, 28)


def test_memory_of_a_memfd():
    memory = GuestMemory(4 << 20)
    assert (memory.kind, memory.huge_bytes()) == ("shared", 0)
    memory.close()


@pytest.mark.parametrize("asked, words", [({"on"}, "BPF map memory"), ({"auto"}, "BPF map memory")])
def test_huge_pages_that_cannot_be_had(bpf, asked, words):
    with pytest.raises(UserError, match=f"hugepages on: .*{words}"):
        Ram(4 << 20, asked, True, "on")


def test_huge_pages_of_a_kernel_without(tmp_path, monkeypatch):
    monkeypatch.setattr(ram, "TRANSPARENT", tmp_path / "nowhere")
    with pytest.raises(UserError, match="hugepages on: .*nowhere: not there"):
        Ram(4 << 20, {"host"}, True, "on")
    with closing(Ram(4 << 20, {"host"}, True, "auto")) as made:
        assert made.memory.kind == "private"
    with closing(Ram(4 << 20, {"host"}, True, "off")) as made:
        assert made.memory.kind == "shared"
