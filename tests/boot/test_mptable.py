"""The MP table, walked as a kernel does (MultiProcessor Specification 1.4, chapter 4)."""

import struct

import pytest

from vmm.boot import mptable
from vmm.kvm.addresses import ACPI_END, IOAPIC, LOCAL_APIC, MIB, RESET_VECTOR
from vmm.kvm.memory import GuestMemory

SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}


@pytest.fixture(params=[1, 2, 64])
def table(request):
    """(CPUs, header, entries by type) of what a search of the last 64 KiB below 1 MiB comes upon."""
    memory = GuestMemory(2 << 20)
    mptable.write(memory, request.param)
    found = [at for at in range(0xf0000, MIB, 16) if memory.read(at, 4) == b"_MP_"]
    assert len(found) == 1
    floating = memory.read(found[0], 16)
    assert sum(floating) & 0xff == 0
    at, paragraphs, revision, defaults = struct.unpack_from("<IBBxB", floating, 4)
    assert (paragraphs, revision, defaults) == (1, 4, 0) and ACPI_END <= at
    header = struct.unpack("<4sHBB8s12sIHHIHBx", memory.read(at, 44))
    data = memory.read(at, header[1])
    assert sum(data) & 0xff == 0 and at + len(data) <= RESET_VECTOR
    memory.close()
    entries = {kind: [] for kind in SIZES}
    at, order = 44, []
    for _ in range(header[8]):
        kind = data[at]
        entries[kind].append(data[at:at + SIZES[kind]])
        order.append(kind)
        at += SIZES[kind]
    assert at == len(data) and order == sorted(order)
    return request.param, header, entries


def test_header(table):
    assert table[1][0] == b"PCMP" and table[1][2] == 4 and table[1][9] == LOCAL_APIC


def test_processors(table):
    """APIC ids as they are, the first one boots; all may be used."""
    assert [(e[1], e[3]) for e in table[2][0]] == [(i, 3 if i == 0 else 1) for i in range(table[0])]


def test_bus_and_ioapic(table):
    assert [e[1:] for e in table[2][1]] == [b"\0ISA   "]
    assert [struct.unpack("<BBBBI", e) for e in table[2][2]] == [(2, 0, 0x11, 1, IOAPIC)]


def test_interrupts(table):
    """0 is on pin 2, which has no other; all others where they are."""
    found = [struct.unpack("<BBHBBBB", e) for e in table[2][3]]
    assert all(e[1:4] == (0, 0, 0) and e[5] == 0 for e in found)
    assert {e[4]: e[6] for e in found} == {0: 2, 1: 1, **{i: i for i in range(3, 24)}} and len(found) == 23


def test_local_interrupts(table):
    """The 8259s on LINT0, of the boot CPU as firmware has it, and NMI on every LINT1."""
    assert [struct.unpack("<BBHBBBB", e) for e in table[2][4]] == [(4, 3, 0, 0, 0, 0, 0), (4, 1, 0, 0, 0, 0xff, 1)]
