"""Packets of a network card, and buffers for them (VIRTIO 1.2, 5.1.4, 5.1.6.2, 5.1.6.3)."""

from __future__ import annotations

import struct
from functools import partial

from tools.driver import WRITE
from vmm.devices.net_features import CSUM, GUEST_CSUM, HOST_TSO4, MRG_RXBUF
from vmm.devmodel.devices.net import HEADER_BYTES, LARGEST_PACKET

from ..scene import Scene
from ..table import IGNORED, NEEDS_RESET, SERVED, breaks
from ..victims import Card, until

breaks = partial(breaks, on=("net",))
NEEDS_CSUM, DATA_VALID, RSC_INFO = 1, 2, 4                  # flags, 5.1.6
TCPV4, UDP, TCPV6, UDP_L4, ECN = 1, 3, 4, 5, 0x80           # gso_type
RECEIVE = 0                                                 # the queue


def _packet(scene: Scene, flags: int = 0, gso: int = 0, header: int = 0, size: int = 0, start: int = 0, at: int = 0,
            buffers: int = 0, frame: bytes = Card.FRAME) -> None:
    """Send a frame behind a header of these fields."""
    data = struct.pack("<BBHHHHH", flags, gso, header, size, start, at, buffers) + frame
    scene.memory.write(scene.victim.SEND, data)
    scene.send([(scene.victim.SEND, len(data), 0)])


def _header(name: str, must: str, how: str, features: int = 0, **fields: int) -> None:
    def do(scene: Scene) -> None:
        _packet(scene, **fields)
    do.__name__, do.__doc__ = name, how
    breaks("5.1.6.2.1", must, SERVED, features=features)(do)


_header("num_buffers_of_a_packet", "`num_buffers` of a packet sent is 0", "A packet with num_buffers 65535.",
        buffers=0xffff)
_header("flags_without_checksums", "flags are 0 without CSUM", "NEEDS_CSUM, not negotiated.", flags=NEEDS_CSUM,
        start=14, at=6)
for _name, _type in (("tcpv4", TCPV4), ("tcpv6", TCPV6), ("udp", UDP), ("udp_l4", UDP_L4), ("unknown", 0x7f)):
    _header(f"gso_{_name}_not_negotiated", "`gso_type` is one that was negotiated", f"gso_type {_type}.",
            flags=NEEDS_CSUM, gso=_type, size=1000)
_header("gso_without_checksum", "`gso_type` comes with NEEDS_CSUM", "Segmentation without NEEDS_CSUM.",
        CSUM | HOST_TSO4, gso=TCPV4, size=1000)
_header("gso_of_no_size", "`gso_type` comes with a `gso_size`", "Segments of 0 bytes.", CSUM | HOST_TSO4,
        flags=NEEDS_CSUM, gso=TCPV4)
_header("gso_header_longer_than_the_packet", "`hdr_len` is that of the headers", "Headers of 65535 bytes.",
        CSUM | HOST_TSO4, flags=NEEDS_CSUM, gso=TCPV4, size=1000, header=0xffff)
_header("ecn_not_negotiated", "ECN is set where that was negotiated", "Segmentation with ECN, not negotiated.",
        CSUM | HOST_TSO4, flags=NEEDS_CSUM, gso=TCPV4 | ECN, size=1000)
_header("checksum_behind_the_packet", "the checksum lies in the packet", "csum_start and csum_offset 65535.", CSUM,
        flags=NEEDS_CSUM, start=0xffff, at=0xffff)
_header("data_valid", "DATA_VALID is not set", "DATA_VALID in a packet sent.", CSUM, flags=DATA_VALID)
_header("rsc_info", "RSC_INFO is not set", "RSC_INFO in a packet sent.", CSUM, flags=RSC_INFO)


@breaks("5.1.4.2", "no packet is larger than the MTU", SERVED)
def larger_than_the_mtu(scene: Scene) -> None:
    """A frame of 9000 bytes, with an MTU of 1500."""
    _packet(scene, frame=Card.FRAME.ljust(9000, b"."))


@breaks("5.1.4.2", "no packet is larger than the MTU", SERVED)
def larger_than_any_packet(scene: Scene) -> None:
    """A packet larger than the largest that there can be."""
    scene.send([(scene.victim.SEND, LARGEST_PACKET // 2 + 1, 0), (scene.victim.SEND, LARGEST_PACKET // 2, 0)])


@breaks("5.1.6.2.1", "a packet begins with a header", SERVED)
def shorter_than_its_header(scene: Scene) -> None:
    """A packet of 11 bytes."""
    scene.send([(scene.victim.SEND, HEADER_BYTES - 1, 0)])


@breaks("5.1.6.2.1", "a packet is a frame", SERVED)
def header_alone(scene: Scene) -> None:
    """A header without a frame."""
    scene.send([(scene.victim.SEND, HEADER_BYTES, 0)])


@breaks("5.1.6.2.1", "buffers of a packet are for reading", NEEDS_RESET)
def packet_to_be_written(scene: Scene) -> None:
    """A buffer that the device may write, in the transmit queue."""
    scene.send([(scene.FREE, 2000, WRITE)])


def _waiting(scene: Scene, parts: list[tuple[int, int, int]], count: int = 1) -> None:
    """Buffers in the receive queue, and packets to put into them."""
    ring = scene.victim.rings[RECEIVE]
    for i in range(count):
        ring.request(parts, i * len(parts) % scene.size)
    scene.write("queue_notify", RECEIVE)
    for _ in range(2):
        scene.victim.peer.send(Card.PACKET)


@breaks("5.1.6.3.1", "receive buffers are for writing", NEEDS_RESET)
def receive_buffer_to_be_read(scene: Scene) -> None:
    """A buffer that the device may not write, in the receive queue."""
    _waiting(scene, [(scene.FREE, 2048, 0)])
    until(lambda: scene.victim.needs_reset, "need of a reset")


@breaks("5.1.6.3.1", "receive buffers are for writing", NEEDS_RESET)
def receive_buffer_half_to_be_read(scene: Scene) -> None:
    """A buffer that the device may not write, and one that it may."""
    _waiting(scene, [(scene.FREE, 12, 0), (scene.FREE + 64, 2048, WRITE)])
    until(lambda: scene.victim.needs_reset, "need of a reset")


def _small(name: str, length: int, features: int, must: str) -> None:
    def do(scene: Scene) -> None:
        _waiting(scene, [(scene.FREE, length, WRITE)])
    do.__name__, do.__doc__ = name, f"A receive buffer of {length} bytes, and packets of {len(Card.PACKET)}."
    breaks("5.1.6.3.1", must, IGNORED, features=features)(do)


_small("receive_buffer_of_a_byte", 1, MRG_RXBUF, "a mergeable buffer has room for a header")
_small("receive_buffer_of_11_bytes", HEADER_BYTES - 1, MRG_RXBUF | CSUM | GUEST_CSUM,
       "a mergeable buffer has room for a header")
_small("receive_buffer_shorter_than_the_packet", 40, 0, "receive buffers have room for a packet")


@breaks("5.1.6.3.1", "a mergeable buffer has room for a header", IGNORED, features=MRG_RXBUF)
def many_buffers_of_a_byte(scene: Scene) -> None:
    """As many buffers of one byte as the queue holds, and a packet."""
    _waiting(scene, [(scene.FREE, 1, WRITE)], scene.size)


@breaks("5.1.4.2", "device configuration is not written", SERVED)
def configuration_written(scene: Scene) -> None:
    """Each byte of the card's configuration: MAC address, status, pairs, MTU."""
    at = scene.victim.device.transport.config
    for width in (1, 2, 4):
        for offset in range(0, 16, width):
            scene.registers.write_at(at + offset, width, 0x55555555 & (1 << 8 * width) - 1)
    scene.send()
