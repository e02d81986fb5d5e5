"""virtio-net: everything both halves know of it."""

from __future__ import annotations

import enum

from ..schema import HOLDER, USER, Block, Device, le16, queue, reasons, u8, u32, u64

PAIRS = 8               # most queue pairs
HEADER_BYTES = 12       # of every packet, as VERSION_1 has it, and as the TAP is told to have it
ETHER_BYTES = 14
LARGEST_PACKET = 65535 + ETHER_BYTES + 4 + HEADER_BYTES
RATE_BURST_NS = 10_000_000


class Status(enum.IntEnum):
    """Bits of the configuration's `status` (VIRTIO 1.2, 5.1.4)."""

    LINK_UP = 1
    ANNOUNCE = 2


class ControlClass(enum.IntEnum):
    """VIRTIO 1.2, 5.1.6.5."""

    RX = 0
    MAC = 1
    VLAN = 2
    ANNOUNCE = 3
    MQ = 4
    GUEST_OFFLOADS = 5


class NetConfig(Block):
    """Device configuration (VIRTIO 1.2, 5.1.4), at the transport's CONFIG."""

    mac = u8[6]("the device's address")
    status = le16("Status")
    max_virtqueue_pairs = le16("receive and transmit queues each")
    mtu = le16("largest packet without its Ethernet header", unit="bytes")


class NetHeader(Block):
    """Head of every packet (VIRTIO 1.2, 5.1.6)."""

    flags = u8("checksum to be done, or found good")
    gso_type = u8("how to segment it")
    hdr_len = le16("of the headers", unit="bytes")
    gso_size = le16("of a segment", unit="bytes")
    csum_start = le16("where checksumming starts", unit="bytes")
    csum_offset = le16("where the sum goes, from there", unit="bytes")
    num_buffers = le16("chains that the packet fills")


class Net(Device, id=1, version=1):
    """virtio-net (VIRTIO 1.2, section 5.1)."""

    queue = queue("receive and transmit of each pair in turn, then control", count=2 * PAIRS + 1, size=256)

    decline = reasons(
        CONTROL="the control queue",
        FRAMING="buffers cut in a way that the handler leaves to userspace",
        SHORT="a receive buffer that cannot take every packet")

    class Port(Block, writer=USER):
        """What may pass, and how."""

        mac = u8[6]("the only source address, if `anti_spoof`")
        link_up = u8("0: what is sent is dropped")
        anti_spoof = u8("1: drop what is sent from another address")
        packets_per_s = u64("limit of what is sent; 0 for none", unit="packets per second")
        bytes_per_s = u64("limit of what is sent; 0 for none", unit="bytes per second")
        burst_ns = u64("how far ahead of the limits a burst may be", unit="ns")
        receive_bytes = u32("largest packet that may arrive, header included", unit="bytes")
        control_queue = u32("its number")
        merge = u32("1: a packet may fill several receive buffers, and large ones do")
        reserved1 = u32("to a multiple of 8")

    class Meter(Block, writer=HOLDER):
        """When what was sent so far would have been through at the limits; atomic, as transmit
        queues share it."""

        packets_ns = u64("by packets", unit="ns")
        bytes_ns = u64("by bytes", unit="ns")

    class Dropped(Block, writer=HOLDER):
        """Packets that were not sent, by why; atomic."""

        spoofed = u64("from another source address")
        limited = u64("beyond a limit")
        link_down = u64("while the link is down")
        failed = u64("refused by the backend")


MEMORY_STRUCTS = (NetConfig, NetHeader)
ENUMS = (Status, ControlClass)
CONSTANTS = {"HEADER_BYTES": HEADER_BYTES, "ETHER_BYTES": ETHER_BYTES, "LARGEST_PACKET": LARGEST_PACKET}
