"""Where everything lies in a guest: guest-physical addresses, ports and interrupt pins.

    0 to low_end           RAM, but for firmware's tables below 1 MiB; low_end is 3 GiB at most
    PCI_LOW                memory window of the PCI bus, for devices that need 32-bit addresses
    VIRTIO_MMIO            one page a virtio-mmio device, or another one that needs no more
    DEVICE_WINDOWS         devices of several pages, or with memory of their own
    ECAM                   PCI configuration space
    0xfec00000 ...         I/O APIC, local APICs, KVM's own pages
    4 GiB and up           the rest of RAM
    PCI_HIGH               the other window of the PCI bus
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# RAM
LOW_END = 3 * GIB           # from here to 4 GiB is the hole
HIGH_START = 4 * GIB
CONVENTIONAL_END = 0x9fc00  # what a PC leaves of the first 640 KiB
ACPI_TABLES, ACPI_END = 0xe0000, 0xf0000
MP_TABLE, MP_END = 0xf0000, 0xf1000     # of the MultiProcessor Specification
RESET_VECTOR = 0xffff0      # where a PC's CPU starts in its BIOS

# Devices
PCI_LOW, PCI_LOW_BYTES = 0xc0000000, 256 * MIB
VIRTIO_MMIO = 0xd0000000
DEVICE_WINDOWS, DEVICE_WINDOWS_END = 0xd1000000, 0xe0000000
ECAM, ECAM_BYTES = 0xe0000000, MIB      # of bus 0, which is all there is
IOAPIC = 0xfec00000
LOCAL_APIC = 0xfee00000
TEST_MEMORY, TEST_MEMORY_BYTES = 0xff000000, 64 * KIB       # of the test ports, as below
KVM_TSS = 0xfffbd000        # three pages that Intel's real mode needs
PCI_HIGH, PCI_HIGH_BYTES = 128 * GIB, 64 * GIB

# Ports
PIC_MASKS = (0x21, 0xa1)    # where both 8259s take them
I8042_DATA, I8042 = 0x60, 0x64
COM1 = 0x3f8
TEST_SCRATCH, TEST_EXIT, TEST_LINES = 0xe0, 0xf4, 0x2000     # where kvm-unit-tests has QEMU's test devices
EXIT_PORT = 0x501           # where QEMU's isa-debug-exit is put by convention
PVPANIC = 0x505             # where QEMU has it
SLEEP_CONTROL, SLEEP_STATUS, RESET = 0x680, 0x681, 0x682    # named in the FADT
PCI_ADDRESS, PCI_DATA = 0xcf8, 0xcfc

# I/O APIC pins
PIT_PIN = 2                 # interrupt 0 of a PC
POWER_PIN = 3               # the power button
SERIAL_PIN = 4
CASCADE = 2                 # of the first 8259: the second one
PIC_PINS = 16               # interrupts that lead to an 8259 as well
FIRST_PIN, LAST_PIN = 5, 23     # of virtio-mmio devices
