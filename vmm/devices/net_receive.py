"""virtio-net's receive queues in userspace's hands (VIRTIO 1.2, section 5.1.6.3)."""

from __future__ import annotations

import select
import struct
from functools import partial
from time import monotonic_ns

from ..devmodel.devices.net import ETHER_BYTES, HEADER_BYTES
from ..devmodel.virtqueue import Side
from ..sync.counting import count
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue
from .net_backend import receive
from .net_features import MRG_RXBUF

PACKETS_AT_ONCE = 64                    # received before others have their turn
IDLE_S = 0.1                            # between looks at queues that may lack room
LOOKS = 3                               # in a row that find it so, and Python serves it
NUM_BUFFERS_AT = 10                     # offset in the header
MERGED = 0xff                           # kind of a tag whose read fills the queue's receive buffers; see net.c


class NetReceive:
    """The part of a NetDevice that is about them."""

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
                if self._may_arrive(length) and self._wants(self._packet[HEADER_BYTES:length]):
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
        count(queue.state.user, packets, moved, monotonic_ns() - started)
        if wanted:
            self.transport.queue_used(queue.index)

    def _may_arrive(self, length: int) -> bool:
        """Whether so many bytes are a packet; what the other end of the wire sends is up to that.  No larger one than
        was negotiated is passed on (5.1.4.1)."""
        return HEADER_BYTES + ETHER_BYTES <= length <= self.state.port.receive_bytes

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
        struct.pack_into("<H", self._packet, NUM_BUFFERS_AT, len(chains))
        done = 0
        for chain in chains:
            before = done
            for at, size in chain.writable:
                part = self._packet[done:min(done + size, length)]
                self._view[at:at + len(part)] = part
                done += len(part)
            queue.push(chain, done - before)
        return length

    # mergeable buffers

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

    def _merged(self, queue: UserQueue, length: int) -> tuple[int, int]:
        """A packet is in the receive buffers (5.1.6.4)."""
        chains, left = [], length
        for chain in queue.uring.receive_chains():
            written = min(left, chain.writable[0][1])
            chains.append((chain, written))
            left -= written
            if not left:
                break
        struct.pack_into("<H", self._view, chains[0][0].writable[0][0] + NUM_BUFFERS_AT, len(chains))
        for chain, written in chains:
            queue.push(chain, written)
        queue.uring.use_receive_buffers(len(chains))
        return 1, length
