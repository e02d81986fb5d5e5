"""ACPI tables (ACPI 6.4, chapter 5), for a machine without legacy hardware or, with a BIOS, for one that has it.

The DSDT is compiled by iasl when splitvmm is built (dsdt.py), what an SSDT adds to it is encoded
here (ssdt.py); the other tables are fixed structs, whose fields are given as offset: (struct format,
value).
"""

from __future__ import annotations

import struct

from ..errors import UserError
from ..kvm.addresses import (
    ACPI_END,
    ACPI_TABLES,
    ECAM,
    IOAPIC,
    LOCAL_APIC,
    PIT_PIN,
    PM1_CONTROL,
    PM1_EVENT,
    RESET,
    SCI_PIN,
    SLEEP_CONTROL,
    SLEEP_STATUS,
)
from ..kvm.memory import GuestMemory
from ..paths import BUILD
from .dsdt import PRESENT
from .ssdt import Announced, terms

RSDP = ACPI_TABLES              # guest-physical
OEM = (b"SPLTVM", b"SPLITVMM", 1, b"SVMM", 1)       # ids and revisions, 5.2.6
RESET_VALUE = 1

AREA_BYTES = ACPI_END - ACPI_TABLES     # all of them
PRESENT_AT = PRESENT - ACPI_TABLES      # where those words are in the area
_PRESENT_REGION = b"\x5b\x80PRES\x00\x0c"     # what is before their address in AML (20.2.5.2: OperationRegion)

# FADT, 5.2.9
RESET_SUPPORTED, HEADLESS, REDUCED_HARDWARE = 1 << 10, 1 << 12, 1 << 20     # flags
BUTTON_IS_DEVICE, NO_SLEEP_BUTTON = 1 << 4, 1 << 5                         # the power button, no fixed hardware
KEYBOARD, NO_VGA, NO_RTC = 1 << 1, 1 << 2, 1 << 5       # boot architecture
PM1_EVENT_BYTES, PM1_CONTROL_BYTES = 4, 2
PORT_SPACE, BYTE_ACCESS = 1, 1              # generic address structure, 5.2.3.2

# MADT, 5.2.12
LOCAL_APIC_ENTRY, IOAPIC_ENTRY, OVERRIDE_ENTRY = 0, 1, 2
ENABLED = 1
PCAT_COMPATIBLE = 1                         # there are 8259s as well


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A table with its header (5.2.6) and checksum."""
    oem, table, oem_revision, creator, creator_revision = OEM
    data = struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, oem, table, oem_revision,
                       creator, creator_revision) + body
    return _summed(data, 9)


def _summed(data: bytes, at: int) -> bytes:
    """With the byte `at` such that all of them sum up to 0."""
    return data[:at] + bytes([data[at] - sum(data) & 0xff]) + data[at + 1:]


def _port(port: int) -> bytes:
    return struct.pack("<BBBBQ", PORT_SPACE, 8, 0, BYTE_ACCESS, port)


def _reduced_hardware() -> dict:
    """Power off through one register (5.2.9, 4.8.3.7)."""
    return {
        109: ("<H", NO_VGA | NO_RTC),
        112: ("<I", RESET_SUPPORTED | HEADLESS | REDUCED_HARDWARE),
        244: ("12s", _port(SLEEP_CONTROL)),
        256: ("12s", _port(SLEEP_STATUS)),
    }


def _fixed_hardware(architecture: int) -> dict:
    """Power off through PM1 control (4.8.3.2.1).  Where there is a BIOS the 8259s and the PIT run: Linux leaves both
    as they are if it is told that hardware is reduced."""
    return {
        46: ("<H", SCI_PIN),
        56: ("<I", PM1_EVENT),
        64: ("<I", PM1_CONTROL),
        88: ("<B", PM1_EVENT_BYTES),
        89: ("<B", PM1_CONTROL_BYTES),
        109: ("<H", architecture),
        112: ("<I", RESET_SUPPORTED | BUTTON_IS_DEVICE | NO_SLEEP_BUTTON),
    }


def fadt(dsdt: int, architecture: int | None = None) -> bytes:
    """`architecture` is a PC's boot architecture; None where hardware is reduced.  Reset is the same (4.8.4.6)."""
    fields = {
        116: ("12s", _port(RESET)),
        128: ("<B", RESET_VALUE),
        131: ("<B", 4),                     # minor version
        140: ("<Q", dsdt),
        **(_reduced_hardware() if architecture is None else _fixed_hardware(architecture)),
    }
    data = bytearray(276)
    for at, (form, value) in fields.items():
        struct.pack_into(form, data, at, value)
    return _table(b"FACP", 6, bytes(data[36:]))


def madt(cpus: int) -> bytes:
    """CPU n has local APIC n; the PIT's interrupt is not on pin 0."""
    entries = [struct.pack("<BBBBI", LOCAL_APIC_ENTRY, 8, i, i, ENABLED) for i in range(cpus)]
    entries.append(struct.pack("<BBBBII", IOAPIC_ENTRY, 12, 0, 0, IOAPIC, 0))
    entries.append(struct.pack("<BBBBIH", OVERRIDE_ENTRY, 10, 0, 0, PIT_PIN, 0))
    return _table(b"APIC", 5, struct.pack("<II", LOCAL_APIC, PCAT_COMPATIBLE) + b"".join(entries))


def mcfg() -> bytes:
    """Where PCI configuration space of bus 0 lies (PCI Firmware Specification 3.3, 4.1.2)."""
    return _table(b"MCFG", 1, struct.pack("<8xQHBB4x", ECAM, 0, 0, 0))


def rsdp(xsdt: int) -> bytes:
    """5.2.5.3; two checksums, of the first version's 20 bytes and of all."""
    data = struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM[0], 2, 0, 36, xsdt, 0)
    return _summed(_summed(data[:20], 8) + data[20:], 32)


def dsdt(present: int = PRESENT) -> bytes:
    """As iasl made it, but for where `present` says that those words are.  Raises UserError."""
    try:
        table = (BUILD / "dsdt.aml").read_bytes()
    except OSError as error:
        raise UserError(f"{BUILD / 'dsdt.aml'}: {error.strerror}; wanted `make` to have built it") from None
    before, found, after = table.partition(_PRESENT_REGION + struct.pack("<I", PRESENT))
    assert found
    return _summed(before + _PRESENT_REGION + struct.pack("<I", present) + after, 9)


def ssdt(devices: list[Announced]) -> bytes:
    """The SSDT; of revision 2, as its integers have 64 bits."""
    return _table(b"SSDT", 2, terms(devices))


def write(memory: GuestMemory, cpus: int, virtio_mmio: set[int], serial: bool, devices: list[Announced],
          area: int = ACPI_TABLES, architecture: int | None = None) -> bytes:
    """Put the tables into the AREA_BYTES from `area`, by default where a guest looks for them; the RSDP, which is the
    first.  `virtio_mmio` has the numbers of the virtio-mmio devices that there are, `devices` those that are
    announced by a name of their own, `architecture` is as of `fadt`."""
    present = area + PRESENT_AT
    at = present + 64

    def place(table: bytes) -> int:
        nonlocal at
        here, at = at, at + (len(table) + 63 & ~63)
        memory.write(here, table)
        return here
    tables = [place(fadt(place(dsdt(present)), architecture)), place(madt(cpus)), place(mcfg())]
    if devices:
        tables.append(place(ssdt(devices)))
    xsdt = place(_table(b"XSDT", 1, struct.pack(f"<{len(tables)}Q", *tables)))
    assert at <= area + AREA_BYTES
    root = rsdp(xsdt)
    memory.write(area, root)
    memory.write(present, struct.pack("<II", sum(1 << i for i in virtio_mmio), int(serial)))
    return root
