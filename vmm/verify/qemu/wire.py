"""The wire of QEMU's device: the same socket as ours has, given to QEMU when it starts."""

from __future__ import annotations

import socket

from ...devices.net_backend import Socket
from ...devmodel.devices.net import HEADER_BYTES
from ...machine.config import MachineConfig


def wires(config: MachineConfig) -> list[socket.socket]:
    """The device's end, of one that has a wire: it outlives QEMU, which may have to be started again."""
    if config.nets:
        backend = config.nets[0].backend
        assert isinstance(backend, Socket)
        return backend.sockets
    if config.consoles:
        made = socket.socket(socket.AF_UNIX)
        made.connect(config.consoles[0].where.removeprefix("socket="))
        return [made]
    return []


class Frames:
    """The other end of a network whose packets have no virtio_net_hdr in front, as one whose have it: all zeros, as
    nothing is left to whoever takes them where no offload is negotiated (VIRTIO 1.2, 5.1.6.2)."""

    def __init__(self, peer: socket.socket):
        self._peer = peer
        self.fileno, self.close, self.setblocking = peer.fileno, peer.close, peer.setblocking

    def send(self, data: bytes) -> int:
        return self._peer.send(data[HEADER_BYTES:])

    def recv(self, size: int) -> bytes:
        return bytes(HEADER_BYTES) + self._peer.recv(size)
