"""Feature bits of virtio-net, and what they need of each other (VIRTIO 1.2, section 5.1.3)."""

from __future__ import annotations

(CSUM, GUEST_CSUM, GUEST_OFFLOADS, MTU, MAC, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, HOST_TSO4, HOST_TSO6,
 HOST_ECN, HOST_UFO, MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_ANNOUNCE, MQ, CTRL_MAC_ADDR) = \
    (1 << bit for bit in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23))
OFFLOADS = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO     # 5.1.6.5.8
GSO = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO
NEEDS = {       # 5.1.3.1: a bit -> those of which it takes one
    GUEST_ECN: GUEST_TSO4 | GUEST_TSO6, HOST_ECN: HOST_TSO4 | HOST_TSO6,
    GUEST_TSO4: GUEST_CSUM, GUEST_TSO6: GUEST_CSUM, GUEST_UFO: GUEST_CSUM, HOST_TSO4: CSUM, HOST_TSO6: CSUM,
    HOST_UFO: CSUM, CTRL_RX: CTRL_VQ, CTRL_VLAN: CTRL_VQ, CTRL_ANNOUNCE: CTRL_VQ, MQ: CTRL_VQ,
    CTRL_MAC_ADDR: CTRL_VQ, GUEST_OFFLOADS: CTRL_VQ}


def fit(bits: int) -> bool:
    """Whether each of these features has what it requires among them."""
    return all(bits & needed for bit, needed in NEEDS.items() if bits & bit)
