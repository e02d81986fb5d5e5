"""virtio-net, user half: every packet and every command there is (VIRTIO 1.2, section 5.1).

What it receives and what it is told through the control queue are parts of their own: net_receive.py,
net_control.py.
"""

from __future__ import annotations

import struct
from time import monotonic_ns

from ..device.place import Place
from ..devmodel.devices.net import (
    ETHER_BYTES,
    HEADER_BYTES,
    LARGEST_PACKET,
    PAIRS,
    RATE_BURST_NS,
    Net,
    NetConfig,
    Status,
)
from ..devmodel.view import ffi, pointer_to
from ..devmodel.virtqueue import Side
from ..errors import UserError
from ..sync._shared import lib
from ..virtio.receiver import Receiver
from ..virtio.virtio_device import VirtioDevice
from ..virtqueue.ring import BrokenQueue, Chain
from ..virtqueue.virtqueue import UserQueue
from .net_backend import send
from .net_control import NetControl
from .net_features import (
    CSUM,
    CTRL_ANNOUNCE,
    CTRL_MAC_ADDR,
    CTRL_RX,
    CTRL_VLAN,
    CTRL_VQ,
    GSO,
    GUEST_CSUM,
    GUEST_ECN,
    GUEST_OFFLOADS,
    GUEST_TSO4,
    GUEST_TSO6,
    GUEST_UFO,
    HOST_ECN,
    HOST_TSO4,
    HOST_TSO6,
    HOST_UFO,
    MAC,
    MQ,
    MRG_RXBUF,
    MTU,
    STATUS,
    fit,
)
from .net_receive import IDLE_S, MERGED, NUM_BUFFERS_AT, NetReceive

NS_PER_S = 1_000_000_000
PATIENCE_S = 0.5                        # for packets to go out, before they are given up


class NetDevice(NetReceive, NetControl, VirtioDevice):
    """A network card in `backend` (Tap or Socket), with `pairs` of queues."""

    schema = Net
    handler = "net"
    config_type = NetConfig
    permanent_reasons = ("SHORT", *VirtioDevice.permanent_reasons)
    doorbell_interrupts = False         # a transmit doorbell is no reason for an interrupt

    def __init__(self, name: str, backend, mac: bytes, pairs: int = 1, anti_spoof: bool = False,
                 packets_per_s: int = 0, bytes_per_s: int = 0, queue_size: int = 256):
        if not 1 <= pairs <= PAIRS or len(backend.fds) < pairs:
            raise UserError(f"{name}: {pairs} queue pairs; wanted 1 to {min(PAIRS, len(backend.fds))}")
        features = MTU | MAC | MRG_RXBUF | STATUS | CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_ANNOUNCE | CTRL_MAC_ADDR
        if backend.offloads:
            features |= CSUM | GUEST_CSUM | GSO | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO | GUEST_OFFLOADS
        super().__init__(name, features | (MQ if pairs > 1 else 0), [queue_size] * (2 * pairs + 1))
        self.backend, self.pairs, self.given_mac = backend, pairs, mac
        self.uring_queues = 2 * pairs
        self._limits = anti_spoof, packets_per_s, bytes_per_s
        self._dead: set[int] = set()
        self._short: dict[int, int] = {}        # queue -> looks that found it without room for a packet

    def attach(self, place: Place) -> None:
        super().attach(place)
        self.config.mtu, self.config.max_virtqueue_pairs = self.backend.mtu, self.pairs
        self._view = place.memory.view
        self._packet = memoryview(bytearray(LARGEST_PACKET + 1))    # a byte tells of more
        port = self.state.port
        for i, byte in enumerate(self.given_mac):       # the host's word counts, not the guest's
            port.mac[i] = byte
        port.anti_spoof, port.packets_per_s, port.bytes_per_s = self._limits
        port.burst_ns, port.control_queue, port.link_up = RATE_BURST_NS, 2 * self.pairs, 1
        self._reset_filters()
        self.config.status = Status.LINK_UP
        self._receiver = Receiver(self, self._sources, self._check_receive_space, lambda: (
            IDLE_S if self.assigned == Side.KERNEL and self.state.port.merge else None))

    def receives(self, index: int) -> bool:
        return index % 2 == 0 and index < 2 * self.pairs

    def uring_files(self) -> list[int]:
        return [self.backend.fds[i // 2] for i in range(2 * self.pairs)]

    # negotiation

    def _features_fit(self) -> bool:
        return super()._features_fit() and fit(self.accepted)

    def driver_ready(self) -> None:
        self._vlans = set() if self.accepted & CTRL_VLAN else None
        self.state.port.merge = int(bool(self.accepted & MRG_RXBUF and self.accepted & GSO))
        self._short.clear()
        self._set_offload(self.accepted)

    def _set_offload(self, accepted: int) -> None:
        """Have the backend leave undone what the driver can take undone, and know how large a
        packet may be."""
        self.backend.set_offload(*(bool(accepted & bit) for bit in (
            GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO)))
        self.state.port.receive_bytes = LARGEST_PACKET if accepted & GSO else \
            HEADER_BYTES + ETHER_BYTES + 4 + self.backend.mtu

    def reset(self) -> None:
        super().reset()
        self._reset_filters()

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or out; the driver is told."""
        with self.lock:
            self.state.port.link_up = int(up)
            self.config.status = Status.LINK_UP if up else 0
            for queue in self._receive_queues:    # reads in the kernel know of no link
                if self.assigned == Side.KERNEL and queue.ready and self._live:
                    self.assign_receive(queue, Side.KERNEL if up else Side.USER)
            self.config_changed()
        self.nudge()

    def announce(self) -> None:
        """Have the driver send gratuitous packets, as after a migration (5.1.6.5.4)."""
        with self.lock:
            if self.accepted & CTRL_ANNOUNCE:
                self.config.status |= Status.ANNOUNCE
                self.config_changed()

    # queues

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        if queue.index == 2 * self.pairs:
            return self._serve_control(queue)
        if queue.index % 2:
            return self._transmit(queue)
        for tag, index in list(queue.uring.failed()) if queue.uring else ():
            if tag.kind == MERGED:      # it held no buffers of its own
                queue.uring.release(index)
        if queue.index in self._short and self._has_room(queue):
            del self._short[queue.index]
            queue.ownership.assigned = self.assigned
        return 0, 0

    # transmit

    def lazy_notify(self, index: int) -> bool:
        return self.backend.takes_at_once and index % 2 == 1

    def _transmit(self, queue: UserQueue) -> tuple[int, int]:
        packets = moved = 0
        for chain in queue.chains():
            moved += self._send(queue, chain)
            queue.push(chain, 0)
            packets += 1
        return packets, moved

    def _send(self, queue: UserQueue, chain: Chain) -> int:
        if chain.writable:
            raise BrokenQueue(f"{queue.name}: a transmitted packet with device-writable buffers")
        length = sum(size for _, size in chain.readable)
        dropped = self.state.dropped
        if not HEADER_BYTES + ETHER_BYTES <= length <= LARGEST_PACKET:
            self._count(dropped, "failed")
            return 0
        packet = queue.gather(chain.readable, LARGEST_PACKET)       # copied, then judged
        if refusal := self._refusal(packet):
            self._count(dropped, refusal)
            return 0
        try:
            send(self.backend.fds[queue.index // 2], packet)
        except OSError:
            self._count(dropped, "failed")
        return length

    def _refusal(self, packet: bytes) -> str:
        """Why a packet must not be sent, in the order in which the handler asks; "" if it may."""
        port = self.state.port
        if port.anti_spoof and packet[HEADER_BYTES + 6:HEADER_BYTES + 12] != bytes(port.mac):
            return "spoofed"
        if not port.link_up:
            return "link_down"
        now, length = monotonic_ns(), len(packet) - HEADER_BYTES
        for field, rate, cost in (("packets_ns", port.packets_per_s, 1), ("bytes_ns", port.bytes_per_s, length)):
            if rate and not lib.meter(self._address(self.state.meter, field), cost * NS_PER_S // rate, now,
                                      port.burst_ns):
                return "limited"
        return ""

    @staticmethod
    def _address(block, field: str) -> int:
        return int(ffi.cast("uintptr_t", pointer_to(block, field)))

    def _count(self, block, field: str) -> None:
        lib.fetch_add64(self._address(block, field), 1)

    # what the kernel half had

    def came_back(self, queue: UserQueue, tag, result: int) -> tuple[int, int] | None:
        if queue.index % 2:
            if result != tag.wanted:
                self._count(self.state.dropped, "failed")
            queue.push(tag, 0)
            return 1, tag.wanted
        if tag.kind == MERGED:
            return self._merged(queue, result) if self._may_arrive(result) else (0, 0)
        if not self._may_arrive(result):
            return None         # cancelled, failed, or dropped: the buffer is kept for another packet
        struct.pack_into("<H", self._view, queue.memory.offset(tag.status + NUM_BUFFERS_AT, 2), 1)
        queue.push(tag, result)
        return 1, result

    def to_redo(self, queue: UserQueue) -> list:
        return []               # what was not sent is lost

    def patience_s(self, queue: UserQueue) -> float | None:
        return PATIENCE_S * (queue.index % 2)       # the backend may take no packets

    def close(self) -> None:
        if self.place:
            self._receiver.close()
        super().close()
        self.backend.close()
