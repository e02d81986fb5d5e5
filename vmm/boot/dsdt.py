"""The DSDT's source: what a guest cannot find out by looking (ACPI 6.4, chapters 5 and 6).

    python -m vmm.boot.dsdt > dsdt.asl && iasl dsdt.asl

The table is the same for every machine: it is compiled once, when splitvmm is built.  Which
virtio-mmio devices and whether a serial port are there is asked of PRESENT, two words that
the machine leaves among its ACPI tables.
"""

from __future__ import annotations

from ..kvm.addresses import (
    ACPI_TABLES,
    COM1,
    ECAM,
    ECAM_BYTES,
    FIRST_PIN,
    LAST_PIN,
    PCI_ADDRESS,
    PCI_FIRMWARE,
    PCI_FIRMWARE_BYTES,
    PCI_HIGH,
    PCI_HIGH_BYTES,
    PCI_LOW,
    PCI_LOW_BYTES,
    POWER_PIN,
    PVPANIC,
    SERIAL_PIN,
    VIRTIO_MMIO,
)

PRESENT = ACPI_TABLES + 64         # guest-physical
# _OSC of a host bridge (ACPI 6.4, 6.2.11; PCI Firmware Specification 3.3, 4.5.1).  No function of ours has
# hot plug, power management events or error reporting, and firmware keeps nothing for itself: what is left
# to hand over is the structure of PCI Express capabilities.
PCI_HOST_BRIDGE = "33db4d5b-1ff7-401c-9657-7441c03dd766"
UNKNOWN_UUID, UNKNOWN_REVISION, MASKED = 1 << 2, 1 << 3, 1 << 4     # status
GRANTED = 1 << 4                # control: PCI Express capability structure
BUTTON_PRESSED = 0x80           # what a control-method power button notifies of (ACPI 6.0, 9.5)
SLEEP_TYPE_OFF = 5              # what is written to SLEEP_CONTROL to power off
PVPANIC_HID = "QEMU0001"        # QEMU's docs/specs/pvpanic.rst

_HEAD = f"""
DefinitionBlock ("", "DSDT", 2, "SPLTVM", "SPLITVMM", 1)
{{
    Name (_S5, Package () {{ {SLEEP_TYPE_OFF}, 0, 0, 0 }})
    OperationRegion (PRES, SystemMemory, {PRESENT:#x}, 8)
    Field (PRES, DWordAcc, NoLock, Preserve) {{ VIRT, 32, UART, 32 }}
    Scope (_SB)
    {{
        Device (COM1)
        {{
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 0)
            Method (_STA) {{ If (UART) {{ Return (15) }} Return (0) }}
            Name (_CRS, ResourceTemplate ()
            {{
                IO (Decode16, {COM1:#x}, {COM1:#x}, 0, 8)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {{ {SERIAL_PIN} }}
            }})
        }}
        Device (PWRB)
        {{
            Name (_HID, "PNP0C0C")
            Name (_UID, 0)
        }}
        Device (GED0)
        {{
            Name (_HID, "ACPI0013")
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {{
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {{ {POWER_PIN} }}
            }})
            Method (_EVT, 1, Serialized) {{ If (Arg0 == {POWER_PIN}) {{ Notify (PWRB, {BUTTON_PRESSED:#x}) }} }}
        }}
        Device (PCI0)
        {{
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_SEG, 0)
            Name (_BBN, 0)
            Name (_UID, 0)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {{
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, {PCI_ADDRESS:#x}, {PCI_ADDRESS:#x}, 1, 8)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, {PCI_LOW:#x}, {PCI_LOW + PCI_LOW_BYTES - 1:#x}, 0, {PCI_LOW_BYTES:#x})
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, {PCI_FIRMWARE:#x}, {PCI_FIRMWARE + PCI_FIRMWARE_BYTES - 1:#x}, 0, {PCI_FIRMWARE_BYTES:#x})
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, {PCI_HIGH:#x}, {PCI_HIGH + PCI_HIGH_BYTES - 1:#x}, 0, {PCI_HIGH_BYTES:#x})
            }})
            Method (_OSC, 4, NotSerialized)
            {{
                CreateDWordField (Arg3, 0, STS)
                If (Arg0 != ToUUID ("{PCI_HOST_BRIDGE}"))
                {{
                    STS |= {UNKNOWN_UUID}
                    Return (Arg3)
                }}
                If (Arg1 != 1) {{ STS |= {UNKNOWN_REVISION} }}
                CreateDWordField (Arg3, 8, CTRL)
                Local0 = CTRL & {GRANTED:#x}
                If (Local0 != CTRL) {{ STS |= {MASKED} }}
                CTRL = Local0
                Return (Arg3)
            }}
        }}
        Device (PEVT)
        {{
            Name (_HID, "{PVPANIC_HID}")
            Name (_UID, 0)
            Name (_STA, 15)
            Name (_CRS, ResourceTemplate () {{ IO (Decode16, {PVPANIC:#x}, {PVPANIC:#x}, 1, 1) }})
        }}
        Device (ECAM)
        {{
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate () {{ Memory32Fixed (ReadWrite, {ECAM:#x}, {ECAM_BYTES:#x}) }})
        }}
"""

_VIRTIO = """
        Device (VR{index:02})
        {{
            Name (_HID, "LNRO0005")
            Name (_UID, {index})
            Name (_CCA, 1)
            Method (_STA) {{ If (VIRT & {bit:#x}) {{ Return (15) }} Return (0) }}
            Name (_CRS, ResourceTemplate ()
            {{
                Memory32Fixed (ReadWrite, {base:#x}, 0x1000)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {{ {pin} }}
            }})
        }}
"""


def source() -> str:
    """The whole table in ASL."""
    devices = [_VIRTIO.format(index=i, bit=1 << i, base=VIRTIO_MMIO + 0x1000 * i, pin=FIRST_PIN + i)
               for i in range(LAST_PIN - FIRST_PIN + 1)]
    return "\n".join([_HEAD, *devices, "    }\n}\n"])


if __name__ == "__main__":
    print(source())
