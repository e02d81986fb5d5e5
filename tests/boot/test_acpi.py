"""ACPI's tables where a guest looks for them, and where a BIOS says that they are."""

import struct

import pytest

from vmm.boot import acpi
from vmm.kvm.addresses import ACPI_TABLES, MIB
from vmm.kvm.memory import GuestMemory

HIGH = 3 * MIB


@pytest.fixture
def memory():
    memory = GuestMemory(4 * MIB)
    yield memory
    memory.close()


def table(memory, at):
    return memory.read(at, int.from_bytes(memory.read(at + 4, 4), "little"))


@pytest.mark.parametrize("area", [ACPI_TABLES, HIGH])
def test_tables(memory, area):
    """All lie in the area, with checksums, and the DSDT finds its two words there."""
    root = acpi.write(memory, 1, {3}, True, [], area)
    assert memory.read(area, len(root)) == root and sum(root[:20]) & 0xff == sum(root) & 0xff == 0
    xsdt = table(memory, int.from_bytes(root[24:32], "little"))
    places = struct.unpack(f"<{(len(xsdt) - 36) // 8}Q", xsdt[36:])
    fadt = table(memory, places[0])
    dsdt_at = int.from_bytes(fadt[140:148], "little")
    found = [xsdt, table(memory, dsdt_at), *(table(memory, at) for at in places)]
    assert all(sum(each) & 0xff == 0 for each in found)
    assert all(area < at < area + acpi.AREA_BYTES for at in (*places, dsdt_at))
    present = found[1].partition(b"PRES\0\x0c")[2][:4]
    assert memory.read(int.from_bytes(present, "little"), 8) == struct.pack("<II", 1 << 3, 1)
    assert area < int.from_bytes(present, "little") < area + acpi.AREA_BYTES


def test_hardware():
    """Reduced by default; with a BIOS there are PM1 registers (ACPI 6.4, 5.2.9)."""
    reduced, fixed = acpi.fadt(0x1000), acpi.fadt(0x1000, acpi.KEYBOARD)
    flags, architecture = [struct.unpack_from("<I", each, 112)[0] for each in (reduced, fixed)], fixed[109]
    assert flags[0] >> 20 & 1 and not flags[1] >> 20 & 1 and architecture == acpi.KEYBOARD
    assert struct.unpack_from("<I", fixed, 64)[0] == 0x604 and struct.unpack_from("<I", reduced, 64)[0] == 0
