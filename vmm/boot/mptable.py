"""The MP table, by which a kernel without ACPI finds CPUs and interrupts (MultiProcessor Specification 1.4,
chapter 4).

It lies where the specification has a BIOS's read-only memory: 64 CPUs fill more than the last KiB of base
memory.  Linux looks there in default_find_smp_config (arch/x86/kernel/mpparse.c).
"""

from __future__ import annotations

import struct

from ..kvm.addresses import IOAPIC, LAST_PIN, LOCAL_APIC, MP_END, MP_TABLE, PIT_PIN
from ..kvm.memory import GuestMemory

FLOATING_BYTES = 16
REVISION = 4                                # 1.4
OEM, PRODUCT = b"SPLITVMM", b"VM          "
PROCESSOR, BUS, IOAPIC_ENTRY, INTERRUPT, LOCAL_INTERRUPT = range(5)     # 4.3
ENABLED, BOOT_CPU = 1, 2
LOCAL_APIC_VERSION, IOAPIC_VERSION = 0x14, 0x11
IOAPIC_ID = 0                               # as the MADT has it
SIGNATURE, FEATURES = 0x600, 0x201          # family 6; FPU and APIC: CPUID tells the rest
VECTORED, NMI, EXTERNAL = 0, 1, 3           # kinds of interrupts (table 4-11)
ALL_CPUS = 0xff
ISA_BUS = 0


def _summed(data: bytes, at: int) -> bytes:
    """With the byte `at` such that all of them sum up to 0."""
    return data[:at] + bytes([-sum(data) & 0xff]) + data[at + 1:]


def _processor(index: int) -> bytes:
    return struct.pack("<BBBBII8x", PROCESSOR, index, LOCAL_APIC_VERSION, ENABLED | (BOOT_CPU if index == 0 else 0),
                       SIGNATURE, FEATURES)


def _interrupt(entry: int, kind: int, source: int, apic: int, pin: int) -> bytes:
    """Polarity and trigger are the bus's own: edges, active high, on ISA."""
    return struct.pack("<BBHBBBB", entry, kind, 0, ISA_BUS, source, apic, pin)


def entries(cpus: int) -> list[bytes]:
    """In the order of their types (4.3).  Interrupt 0 is on the PIT's pin, 2 is the 8259s' cascade, and
    every other one on the pin of its number: those above 15 too, which ISA has not, but our devices have."""
    pins = {0: PIT_PIN} | {pin: pin for pin in range(1, LAST_PIN + 1) if pin != PIT_PIN}
    return [*(_processor(index) for index in range(cpus)),
            struct.pack("<BB6s", BUS, ISA_BUS, b"ISA   "),
            struct.pack("<BBBBI", IOAPIC_ENTRY, IOAPIC_ID, IOAPIC_VERSION, ENABLED, IOAPIC),
            *(_interrupt(INTERRUPT, VECTORED, source, IOAPIC_ID, pin) for source, pin in pins.items()),
            _interrupt(LOCAL_INTERRUPT, EXTERNAL, 0, 0, 0),
            _interrupt(LOCAL_INTERRUPT, NMI, 0, ALL_CPUS, 1)]


def write(memory: GuestMemory, cpus: int) -> None:
    """Put the floating pointer (4.1) and the table (4.2) where a guest looks for them."""
    found = entries(cpus)
    body = b"".join(found)
    table = struct.pack("<4sHBB8s12sIHHIHBx", b"PCMP", 44 + len(body), REVISION, 0, OEM, PRODUCT, 0, 0, len(found),
                        LOCAL_APIC, 0, 0) + body
    at = MP_TABLE + FLOATING_BYTES
    assert at + len(table) <= MP_END
    memory.write(MP_TABLE, _summed(struct.pack("<4sIBBBBBBBB", b"_MP_", at, 1, REVISION, 0, 0, 0, 0, 0, 0), 10))
    memory.write(at, _summed(table, 7))
