"""PCI configuration space of an endpoint (PCI Local Bus 3.0, chapter 6), and the capabilities
that virtio and MSI-X put there."""

from __future__ import annotations

import enum

from ..schema import Block, bits_of, le16, le32, u8

CONFIG_BYTES = 256
BARS = 6
MEMORY_64, MEMORY_32 = 4, 8     # low bits of a BAR (6.2.5.1): 64 bits wide, or 32 and prefetchable


class PciHeader(Block):
    """Type 0 header (6.1)."""

    vendor_id = le16("vendor")
    device_id = le16("device")
    command = bits_of(le16, ports=0, memory=1, master=2, no_intx=10)("what the guest switched on")
    status = bits_of(le16, capabilities=4)("what there is")
    revision = u8("revision")
    interface = u8("programming interface")
    subclass = u8("kind of device, in its class")
    base_class = u8("class of device")
    cache_line = u8("not used")
    latency = u8("not used")
    header_type = u8("0: an endpoint with one function")
    bist = u8("not used")
    bar = le32[BARS]("where the device's memory lies")
    cis = le32("not used")
    subsystem_vendor = le16("vendor of the board")
    subsystem = le16("the board")
    rom = le32("there is none")
    capabilities = u8("first capability", unit="bytes from the start")
    reserved = u8[7]("reserved")
    interrupt_line = u8("for the guest's own use")
    interrupt_pin = u8("0: interrupts are messages only")
    min_grant = u8("not used")
    max_latency = u8("not used")


class CapabilityId(enum.IntEnum):
    """PCI Code and ID Assignment, chapter 2."""

    VENDOR = 0x09
    MSIX = 0x11


class MsixCapability(Block):
    """MSI-X (6.8.2)."""

    id = u8("CapabilityId.MSIX")
    next = u8("next capability", unit="bytes from the start")
    control = bits_of(le16, last=(0, 11), masked=14, enabled=15)("last entry's number, and switches")
    table = le32("where the table is: its BAR in bits 0 to 2")
    pending = le32("where the pending bits are, likewise")


class MsixEntry(Block):
    """One entry of the table (6.8.2)."""

    address_low = le32("where the message goes, bits 0-31")
    address_high = le32("and 32-63")
    data = le32("what it says")
    control = bits_of(le32, masked=0)("whether it waits")


class VirtioCapabilityKind(enum.IntEnum):
    """VIRTIO 1.2, 4.1.4."""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4
    PCI = 5


class VirtioCapability(Block):
    """Where a part of a virtio device's registers lies (VIRTIO 1.2, 4.1.4)."""

    id = u8("CapabilityId.VENDOR")
    next = u8("next capability", unit="bytes from the start")
    length = u8("of this capability", unit="bytes")
    kind = u8("VirtioCapabilityKind")
    bar = u8("the BAR that it is in")
    instance = u8("number of several of a kind")
    reserved = u8[2]("to a multiple of 4")
    offset = le32("in that BAR", unit="bytes")
    size = le32("of the part", unit="bytes")
    argument = le32("of NOTIFY: bytes from one queue's doorbell to the next; of PCI: data")

