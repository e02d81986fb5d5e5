"""Where everything lies in a guest: guest-physical addresses, ports and interrupt pins.

    0 to low_end           RAM, but for firmware's tables below 1 MiB; low_end is 3 GiB at most
    PCI_LOW                memory window of the PCI bus, for devices that need 32-bit addresses
    VIRTIO_MMIO            one page a virtio-mmio device, or another one that needs no more
    DEVICE_WINDOWS         devices of several pages, or with memory of their own
    ECAM                   PCI configuration space
    PCI_FIRMWARE           window of the PCI bus where SeaBIOS puts BARs, from its end down
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
PCI_FIRMWARE, PCI_FIRMWARE_BYTES = 0xf0000000, 0xec00000     # to the I/O APIC
IOAPIC = 0xfec00000
LOCAL_APIC = 0xfee00000
KVM_TSS, KVM_TSS_BYTES = 0xfffbd000, 3 << 12    # which Intel's real mode needs
TEST_MEMORY, TEST_MEMORY_BYTES = 0xff000000, 64 * KIB       # of the test ports, as below
PCI_HIGH, PCI_HIGH_BYTES = 128 * GIB, 64 * GIB

# A VGA's window, and characters behind it
VGA_WINDOW, VGA_WINDOW_END = 0xa0000, 0xb0000

# Ports
PIC_MASKS = (0x21, 0xa1)    # where both 8259s take them
KVM_PORTS = (range(0x20, 0x22), range(0xa0, 0xa2), range(0x4d0, 0x4d2),     # its 8259s'
             range(0x40, 0x44), range(0x61, 0x62))                          # and its timer's
I8042_DATA, I8042 = 0x60, 0x64
CMOS = 0x70                 # index, then data
SYSTEM_CONTROL = 0x92       # "port A" of a PS/2
VBE_PORTS = 0x1ce
VGA_MONOCHROME_PORTS, VGA_PORTS = 0x3b0, 0x3c0
COM1 = 0x3f8
DEBUG_CONSOLE = 0x402       # where SeaBIOS writes its log
TEST_SCRATCH, TEST_EXIT, TEST_LINES = 0xe0, 0xf4, 0x2000     # where kvm-unit-tests has QEMU's test devices
EXIT_PORT = 0x501           # where QEMU's isa-debug-exit is put by convention
PVPANIC = 0x505             # where QEMU has it
PM1_EVENT, PM1_CONTROL = 0x600, 0x604     # of ACPI's fixed hardware, where there is a BIOS
FW_CFG = 0x510              # selector, then data
SLEEP_CONTROL, SLEEP_STATUS, RESET = 0x680, 0x681, 0x682    # named in the FADT
PCI_ADDRESS, PCI_DATA = 0xcf8, 0xcfc

# I/O APIC pins
KEYBOARD_PIN = 1
PIT_PIN = 2                 # interrupt 0 of a PC
POWER_PIN = 3               # the power button
SERIAL_PIN = 4
SCI_PIN = 23                # of ACPI's fixed hardware, which raises none
CASCADE = 2                 # of the first 8259: the second one
PIC_PINS = 16               # interrupts that lead to an 8259 as well
FIRST_PIN, LAST_PIN = 5, 23     # of virtio-mmio devices
