"""virtio-net's control queue, and the receive filters that it sets (VIRTIO 1.2, section 5.1.6.5)."""

from __future__ import annotations

from ..devmodel.devices.net import ControlClass, Status
from ..devmodel.virtqueue import Side
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue
from .net_features import CTRL_ANNOUNCE, CTRL_MAC_ADDR, CTRL_RX, CTRL_VLAN, CTRL_VQ, GUEST_OFFLOADS, MQ, OFFLOADS, fit

OK, ERR = 0, 1                          # answers, 5.1.6.5
COMMAND_BYTES = 64 << 10                # of the longest command: thousands of addresses
BROADCAST = b"\xff" * 6


class NetControl:
    """The part of a NetDevice that is about them."""

    # filters

    def _reset_filters(self) -> None:
        self._set_mac(self.given_mac)
        self._promiscuous, self._all_multicast = True, False
        self._addresses: set[bytes] = set()
        self._vlans: set[int] | None = None
        self.backend.set_active(1)      # until the driver asks for more (5.1.6.5.5)

    def _set_mac(self, mac: bytes) -> None:
        for i, byte in enumerate(mac):
            self.config.mac[i] = byte
        self._mac = mac

    def _wants(self, frame) -> bool:
        """The receive filter (5.1.6.5.1 to 5.1.6.5.3): best effort, as the driver checks again."""
        if not self.state.port.link_up:
            return False
        if self._vlans is not None and frame[12:14] == b"\x81\x00" and \
                int.from_bytes(frame[14:16], "big") & 0xfff not in self._vlans:
            return False
        to = bytes(frame[:6])
        if self._promiscuous or to in (self._mac, BROADCAST) or to in self._addresses:
            return True
        return bool(to[0] & 1 and self._all_multicast)

    # commands

    def _serve_control(self, queue: UserQueue) -> tuple[int, int]:
        commands = 0
        for chain in queue.chains():
            if not chain.writable:
                raise BrokenQueue(f"{queue.name}: a command with no room for its answer")
            data = queue.gather(chain.readable, COMMAND_BYTES)
            at, _ = chain.writable[0]
            self._view[at] = OK if data and len(data) >= 2 and self._command(data[0], data[1], data[2:]) else ERR
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
        name = {0: "_promiscuous", 1: "_all_multicast"}.get(command)       # the others are CTRL_RX_EXTRA's
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
        if command != 0 or not self.accepted & CTRL_RX:
            return False        # VIRTIO_NET_CTRL_MAC_TABLE_SET: unicast addresses, then multicast
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
        if command != 0 or len(data) < 8 or wanted & ~(self.accepted & OFFLOADS) or not fit(wanted):
            return False
        self._set_offload(wanted)
        return True
