"""A guest whose device has a wire: a socket, at whose other end somebody sends and reads."""

from __future__ import annotations

import fcntl
import socket
import termios
from array import array
from collections.abc import Iterator
from time import monotonic, sleep

from ..machine.machine import Machine
from ..testing.driver import WRITE
from ..virtio.virtio_device import VirtioDevice
from .in_flight_guest import PARTS, InFlightGuest

LOOK_S = 0.0001         # between two looks at what is unread
PATIENCE_S = 1.0        # until that is given up: the device need not read on
WAITING_S = 0.02        # likewise, for what waits
SLOTS = 8               # of receive buffers


class WiredGuest(InFlightGuest):
    """`peer` is the other end."""

    BUFFERS: int                # guest-physical; receive buffers, 4 KiB a slot

    def __init__(self, machine: Machine, device: VirtioDevice, peer: socket.socket):
        self.peer = peer
        peer.setblocking(False)
        super().__init__(machine, device)

    # steps

    def buffer(self, queue: int, length: int) -> None:
        """One more receive buffer, in a slot that is free here: which of them input comes into is any."""
        taken = self.waiting[queue].keys() | self.posted
        head = next((PARTS * slot for slot in range(SLOTS) if PARTS * slot not in taken), 0)
        self.chain(queue, head, [[self._at(head), length, WRITE]])

    def hang_up(self) -> None:
        """The other end closes, for good."""
        self.peer.close()

    # what is seen

    def begin(self) -> None:
        super().begin()
        for _ in self.sent():       # was compared, or came when nothing was
            pass

    @property
    def wired(self) -> bool:
        """Whether there is another end."""
        return self.peer.fileno() >= 0

    def _at(self, head: int) -> int:
        """Where a receive buffer is."""
        return self.BUFFERS + 0x1000 * (head // PARTS)

    def send(self, data: bytes) -> None:
        """From the other end, if there is one; until the device has read it, if it does."""
        if self.wired:
            self.peer.send(data)
            self._until_read(PATIENCE_S)

    def _until_read(self, seconds: float) -> None:
        deadline, unread = monotonic() + seconds, array("i", [1])
        while unread[0] and monotonic() < deadline:
            fcntl.ioctl(self.peer, termios.TIOCOUTQ, unread)
            sleep(LOOK_S * bool(unread[0]))
        with self.device.lock:
            pass

    def ring(self, queue: int) -> None:
        super().ring(queue)
        if self.wired and self.device.receives(queue):      # what has come before there were buffers
            self._until_read(WAITING_S)

    def took(self, queue: int, head: int, written: int) -> None:
        if self.device.receives(queue):
            self.got(self.machine.memory.read(self._at(head), written))

    def got(self, data: bytes) -> None:
        """What has come into a receive buffer."""
        raise NotImplementedError

    def sent(self) -> Iterator[bytes]:
        """What has come out at the other end."""
        if not self.wired:
            return
        try:
            while data := self.peer.recv(1 << 16):
                yield data
        except BlockingIOError:
            pass
