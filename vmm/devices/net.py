"""virtio-net, user half: every packet and every command there is (VIRTIO 1.2, section 5.1)."""

from __future__ import annotations

import select
import struct
from functools import partial
from time import monotonic_ns

from ..device.register_device import Place
from ..devmodel.devices.net import (ETHER_BYTES, HEADER_BYTES, LARGEST_PACKET, PAIRS, RATE_BURST_NS, ControlClass, Net,
                                    NetConfig, Status)
from ..devmodel.view import ffi, pointer_to
from ..devmodel.virtqueue import Side
from ..errors import UserError
from ..sync._shared import lib
from ..virtio.receiver import Receiver
from ..virtio.virtio_device import VirtioDevice
from ..virtqueue.ring import BrokenQueue, Chain
from ..virtqueue.virtqueue import UserQueue
from .net_backend import receive, send

# feature bits, 5.1.3
(CSUM, GUEST_CSUM, GUEST_OFFLOADS, MTU, MAC, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, HOST_TSO4, HOST_TSO6,
 HOST_ECN, HOST_UFO, MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_ANNOUNCE, MQ, CTRL_MAC_ADDR) = \
    (1 << bit for bit in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23))
GSO = GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO
NEEDS = {       # 5.1.3.1: a bit -> what it is nothing without
    GUEST_TSO4: GUEST_CSUM, GUEST_TSO6: GUEST_CSUM, GUEST_UFO: GUEST_CSUM, HOST_TSO4: CSUM, HOST_TSO6: CSUM,
    HOST_UFO: CSUM, CTRL_RX: CTRL_VQ, CTRL_VLAN: CTRL_VQ, CTRL_ANNOUNCE: CTRL_VQ, MQ: CTRL_VQ,
    CTRL_MAC_ADDR: CTRL_VQ, GUEST_OFFLOADS: CTRL_VQ}
OK, ERR = 0, 1                          # answers of the control queue, 5.1.6.5
NS_PER_S = 1_000_000_000
BROADCAST = b"\xff" * 6
PATIENCE_S = 0.5                        # for packets to go out, before they are given up
PACKETS_AT_ONCE = 64                    # received before others have their turn
IDLE_S = 0.1                            # between looks at queues that may lack room
LOOKS = 3                               # in a row that find it so, and Python serves it
MERGED = 0xff                           # kind of a tag whose read fills the queue's room; see net.c
_NUM_BUFFERS = 10                       # offset in the header


class NetDevice(VirtioDevice):
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
        self._packet = memoryview(bytearray(LARGEST_PACKET))
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
        return super()._features_fit() and not any(
            self.accepted & bit and not self.accepted & needed for bit, needed in NEEDS.items())

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

    def _reset_filters(self) -> None:
        self._set_mac(self.given_mac)
        self._promiscuous, self._all_multicast, self._no_broadcast = True, False, False
        self._addresses: set[bytes] = set()
        self._vlans: set[int] | None = None
        self.backend.set_active(1)      # until the driver asks for more (5.1.6.5.5)

    def _set_mac(self, mac: bytes) -> None:
        for i, byte in enumerate(mac):
            self.config.mac[i] = byte
        self._mac = mac

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

    def _has_room(self, queue: UserQueue) -> bool:
        """Whether the largest packet that may arrive fits into the buffers that there are."""
        room = 0
        for chain, _ in queue.buffers():
            room += sum(size for _, size in chain.writable)
            if room >= self.state.port.receive_bytes:
                return True
        return False

    def _check_receive_space(self) -> None:
        """A queue that goes without a read as it lacks room for the largest packet, while one waits:
        the driver may have no more buffers, and this one may be small.  Python serves it then."""
        port = self.state.port
        for queue in self._receive_queues if port.merge else ():
            uring, fd = queue.uring, self.backend.fds[queue.index // 2]
            if not (queue.ready and self._live and queue.ownership.assigned == Side.KERNEL and uring and uring.ready):
                continue
            short = uring.receive.bytes < port.receive_bytes and not uring.outstanding and \
                bool(select.select([fd], [], [], 0)[0])
            self._short[queue.index] = self._short.get(queue.index, 0) + 1 if short else 0
            if self._short[queue.index] >= LOOKS:
                self.assign_receive(queue, Side.USER)
            elif not short:
                del self._short[queue.index]

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
        packet = b"".join(self._view[at:at + size] for at, size in chain.readable)     # copied, then judged
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

    # receive

    def nudge(self) -> None:
        self._receiver.nudge()

    def _sources(self) -> dict:
        """The backend's descriptors of the receive queues that userspace holds."""
        queues = {self.backend.fds[queue.index // 2]: queue for queue in self._receive_queues}
        return {fd: partial(self._receive, queue, fd) for fd, queue in queues.items()
                if fd not in self._dead and self.user_receives(queue)}

    @property
    def _receive_queues(self) -> list[UserQueue]:
        return self.queues[:2 * self.pairs:2]

    def _receive(self, queue: UserQueue, fd: int) -> None:
        packets = moved = 0
        started = monotonic_ns()
        try:
            while packets < PACKETS_AT_ONCE and queue.has_buffers():
                try:
                    length = receive(fd, self._packet)
                except BlockingIOError:
                    break
                if length >= HEADER_BYTES + ETHER_BYTES and self._wants(self._packet[HEADER_BYTES:length]):
                    moved += self._deliver(queue, length)
                packets += 1
            wanted = queue.wants_interrupt()
        except BrokenQueue as error:
            self._needs_reset(error)
            return
        except OSError as error:        # the interface is gone: no use asking again
            self.log.warning("%s: receiving: %s", self.name, error)
            self._dead.add(fd)
            return
        counters = queue.state.user
        counters.handled += packets
        counters.bytes += moved
        counters.busy_ns += monotonic_ns() - started
        if wanted:
            self.transport.queue_used(queue.index)

    def _wants(self, frame) -> bool:
        """The receive filter (5.1.6.5.1 to 5.1.6.5.3): best effort, as the driver checks again."""
        if not self.state.port.link_up:
            return False
        if self._vlans is not None and frame[12:14] == b"\x81\x00" and \
                int.from_bytes(frame[14:16], "big") & 0xfff not in self._vlans:
            return False
        to = bytes(frame[:6])
        if self._promiscuous or to == self._mac or to in self._addresses:
            return True
        if to == BROADCAST:
            return not self._no_broadcast
        return bool(to[0] & 1 and self._all_multicast)

    def _deliver(self, queue: UserQueue, length: int) -> int:
        """Put a packet into as many chains as it takes (5.1.6.4); one that does not fit is dropped."""
        mergeable = bool(self.accepted & MRG_RXBUF)
        chains, found, room = [], [], 0
        for chain, what in queue.buffers():
            if chain.readable:
                raise BrokenQueue(f"{queue.name}: a receive buffer that the device may not write")
            chains.append(chain)
            found.append(what)
            room += sum(size for _, size in chain.writable)
            if room >= length or not mergeable:
                break
        if room < length:
            return 0
        queue.take_buffers(found)
        struct.pack_into("<H", self._packet, _NUM_BUFFERS, len(chains))
        done = 0
        for chain in chains:
            before = done
            for at, size in chain.writable:
                part = self._packet[done:min(done + size, length)]
                self._view[at:at + len(part)] = part
                done += len(part)
            queue.push(chain, done - before)
        return length

    # what the kernel half had

    def came_back(self, queue: UserQueue, tag, result: int) -> tuple[int, int] | None:
        if queue.index % 2:
            if result != tag.wanted:
                self._count(self.state.dropped, "failed")
            queue.push(tag, 0)
            return 1, tag.wanted
        if tag.kind == MERGED:
            return self._merged(queue, result) if result >= HEADER_BYTES else (0, 0)
        if result < HEADER_BYTES:
            return None         # cancelled, or failed: the buffer is kept for another packet
        struct.pack_into("<H", self._view, queue.memory.offset(tag.status + _NUM_BUFFERS, 2), 1)
        queue.push(tag, result)
        return 1, result

    def _merged(self, queue: UserQueue, length: int) -> tuple[int, int]:
        """A packet is in the room that was read into (5.1.6.4)."""
        chains, left = [], length
        for chain in queue.uring.receive_chains():
            written = min(left, chain.writable[0][1])
            chains.append((chain, written))
            left -= written
            if not left:
                break
        struct.pack_into("<H", self._view, chains[0][0].writable[0][0] + _NUM_BUFFERS, len(chains))
        for chain, written in chains:
            queue.push(chain, written)
        queue.uring.use_receive_buffers(len(chains))
        return 1, length

    def to_redo(self, queue: UserQueue) -> list:
        return []               # what was not sent is lost

    def patience_s(self, queue: UserQueue) -> float | None:
        return PATIENCE_S * (queue.index % 2)       # the backend may take no packets

    # control (5.1.6.5)

    def _serve_control(self, queue: UserQueue) -> tuple[int, int]:
        commands = 0
        for chain in queue.chains():
            if not chain.writable:
                raise BrokenQueue(f"{queue.name}: a command with no room for its answer")
            data = b"".join(bytes(self._view[at:at + min(size, LARGEST_PACKET)]) for at, size in chain.readable)
            at, _ = chain.writable[0]
            self._view[at] = OK if len(data) >= 2 and self._command(data[0], data[1], data[2:]) else ERR
            queue.push(chain, 1)
            commands += 1
        return commands, 0

    def _command(self, kind: int, command: int, data: bytes) -> bool:
        known = {ControlClass.RX: (CTRL_RX, self._command_rx), ControlClass.MAC: (CTRL_VQ, self._command_mac),
                 ControlClass.VLAN: (CTRL_VLAN, self._command_vlan),
                 ControlClass.ANNOUNCE: (CTRL_ANNOUNCE, self._command_announce),
                 ControlClass.MQ: (MQ, self._command_mq),
                 ControlClass.GUEST_OFFLOADS: (GUEST_OFFLOADS, self._command_offloads)}
        feature, take = known.get(kind, (0, None))
        return bool(self.accepted & feature) and take(command, data)

    def _command_rx(self, command: int, data: bytes) -> bool:
        name = {0: "_promiscuous", 1: "_all_multicast", 5: "_no_broadcast"}.get(command)
        if not name or len(data) < 1:
            return False
        setattr(self, name, bool(data[0]))
        return True

    def _command_mac(self, command: int, data: bytes) -> bool:
        if command == 1:        # VIRTIO_NET_CTRL_MAC_ADDR_SET
            if len(data) < 6 or not self.accepted & CTRL_MAC_ADDR:
                return False
            self._set_mac(data[:6])
            return True
        if command != 0:        # VIRTIO_NET_CTRL_MAC_TABLE_SET: unicast addresses, then multicast
            return False
        found, at = set(), 0
        for _ in range(2):
            if at + 4 > len(data):
                return False
            count = int.from_bytes(data[at:at + 4], "little")
            at += 4
            if at + 6 * count > len(data):
                return False
            found |= {data[at + 6 * i:at + 6 * i + 6] for i in range(count)}
            at += 6 * count
        self._addresses = found
        return True

    def _command_vlan(self, command: int, data: bytes) -> bool:
        vlan = int.from_bytes(data[:2], "little")
        if command > 1 or len(data) < 2 or vlan > 4095:
            return False
        vlans = self._vlans or set()
        self._vlans = vlans | {vlan} if command == 0 else vlans - {vlan}
        return True

    def _command_announce(self, command: int, data: bytes) -> bool:
        if command != 0 or not self.config.status & Status.ANNOUNCE:
            return False
        self.config.status &= ~Status.ANNOUNCE
        return True

    def _command_mq(self, command: int, data: bytes) -> bool:
        pairs = int.from_bytes(data[:2], "little")
        if command != 0 or len(data) < 2 or not 1 <= pairs <= self.pairs:
            return False
        self.backend.set_active(pairs)
        for queue in self.queues[:2 * pairs:2]:     # reads from a queue that took no part have failed
            self._dead.discard(self.backend.fds[queue.index // 2])
            if self.assigned == Side.KERNEL and queue.ready and queue.ownership.assigned == Side.USER:
                self.assign_receive(queue, Side.KERNEL)
        self.nudge()
        return True

    def _command_offloads(self, command: int, data: bytes) -> bool:
        wanted = int.from_bytes(data[:8], "little")
        if command != 0 or len(data) < 8 or wanted & ~self.accepted:
            return False
        self._set_offload(wanted)
        return True

    def close(self) -> None:
        if self.place:
            self._receiver.close()
        super().close()
        self.backend.close()
