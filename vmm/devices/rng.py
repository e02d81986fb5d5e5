"""virtio-rng, user half: random bytes from the kernel's generator (VIRTIO 1.2, section 5.4)."""

from __future__ import annotations

import os

from ..device.place import Place
from ..devmodel.devices.rng import MOST_BYTES, POOL_BYTES, Rng
from ..virtio.virtio_device import VirtioDevice
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue


class RngDevice(VirtioDevice):
    """Entropy for a guest."""

    schema = Rng
    handler = "rng"

    def attach(self, place: Place) -> None:
        super().attach(place)
        self._fill()

    def _fill(self) -> None:
        """Give the kernel half bytes that nobody has seen."""
        pool = self.state.pool
        pool.bytes[:] = os.urandom(POOL_BYTES)
        pool.taken = 0

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        requests = moved = 0
        for chain in queue.chains():
            if not chain.writable or chain.readable:
                raise BrokenQueue(f"{queue.name}: a request that is not for writing to alone")
            at, length = chain.writable[0]
            length = min(length, MOST_BYTES)
            queue.memory.view[at:at + length] = os.urandom(length)
            queue.push(chain, length)
            requests, moved = requests + 1, moved + length
        if self.state.pool.taken:
            self._fill()
        return requests, moved
