"""Virtqueues, user side (VIRTIO 1.2, sections 2.6 to 2.8).  The counterpart of
kernel_devices/virtqueue.h: the same checks, from the same shared state.

The guest wrote every byte read here and may be writing it still: each descriptor is read
once, checked, and used from the copy.  What split and packed rings have apart is in
split_ring.py and packed_ring.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..devmodel.view import address_of, view_of
from ..devmodel.virtqueue import queue_layout
from ..kvm.memory import GuestMemory
from ..sync._shared import lib
from ..sync.ownership import Ownership
from .packed_ring import PackedRing
from .ring import Chain, RingFormat
from .split_ring import SplitRing
from .uring import Uring


class UserQueue:
    """One queue, as the Python half sees it.  Used only while userspace holds it."""

    def __init__(self, name: str, index: int, state, memory: GuestMemory,
                 ownership: Callable[..., Ownership] = Ownership):
        """`state` is the view of the queue's shared state; ours refuses to write HOLDER fields
        while the kernel half holds the queue.  `ownership` makes the Ownership."""
        self.name, self.index, self.memory = name, index, memory
        self.ownership = ownership(name, state.ownership, state.entry)
        self.state = view_of(queue_layout())(address_of(state), state, self.ownership.held_by_user)
        self.uring: Uring | None = None
        self.ring: RingFormat | None = None
        self.pushed = 0         # requests that userspace has completed
        self.latch()

    def latch(self) -> None:
        """Take up the setup block after it was written."""
        setup = self.state.setup
        self.ready = bool(setup.ready)
        kind = PackedRing if setup.packed else SplitRing
        self.ring = kind(self.name, self.state, self.memory) if self.ready else None

    def check(self, packed: bool, size: int, largest: int, desc: int, driver: int, device: int) -> None:
        """Whether a driver's setup is sound.  Raises BrokenQueue."""
        (PackedRing if packed else SplitRing).check(self.name, self.memory, size, largest, desc, driver, device)

    def chains(self) -> Iterator[Chain]:
        """Requests, each thereby taken on, until the queue is empty and the driver will ring for the
        next one.  Raises BrokenQueue."""
        ring, position = self.ring, self.state.position
        while True:
            while ring.available(position.next_avail):
                chain, position.next_avail = ring.chain_at(position.next_avail)
                yield chain
            ring.publish()
            if not self._available_after_enabling():
                return

    def _available_after_enabling(self) -> bool:
        """Have the driver ring for the next request, and look whether it came meanwhile.  Raises
        BrokenQueue."""
        self.ring.enable_notify()
        # between asking for a doorbell and looking again; partner: the driver makes a request
        # available and then reads what we asked for (2.7.13.4.1, 2.8.21.3.1)
        lib.full_barrier()
        return self.ring.available(self.state.position.next_avail)

    def gather(self, parts: list[tuple[int, int]], most: int) -> bytes | None:
        """A copy of what is in these buffers, or None if that is more than `most` bytes: a driver's few
        descriptors can name the same memory a thousand times."""
        if sum(size for _, size in parts) > most:
            return None
        view = self.memory.view
        return b"".join(view[at:at + size] for at, size in parts)

    def push(self, chain, written: int, touched: bool = False) -> None:
        """Complete a request; the driver sees it at the next publish.  `chain` has its `head` and
        `slots`: a Chain, or a request in flight."""
        self.ring.push(chain.head, chain.slots, written, touched)
        self.pushed += 1

    def wants_interrupt(self) -> bool:
        """Whether the driver wants one for what was used since the last (2.7.7, 2.8.10)."""
        ring, position = self.ring, self.state.position
        ring.publish()
        lib.full_barrier()      # what is used is out before the driver's wish is read (2.7.7.2)
        used, position.unsignalled = position.unsignalled, 0
        return used > 0 and ring.wants_interrupt(used)

    # receive queues, whose requests are buffers that wait for something

    def has_buffers(self) -> bool:
        """Whether there are any; if not, the driver will ring when there are.  Raises BrokenQueue."""
        uring = self.uring
        if uring and (uring.flight.failed or uring.receive.first != uring.receive.end):
            return True
        return self.ring.available(self.state.position.next_avail) or self._available_after_enabling()

    def buffers(self) -> Iterator[tuple]:
        """(chain, what `take_buffers` wants of it) of the buffers that there are: those kept from the
        kernel half, then those available.  None is taken by this.  Raises BrokenQueue."""
        if self.uring:
            for tag, index in self.uring.failed():
                yield Chain(tag.head, [], self.uring.parts(tag, index), tag.slots), ("kept", index)
            for chain in self.uring.receive_chains():
                yield chain, ("receive", 1)
        position = self.state.position.next_avail
        while self.ring.available(position):
            chain, position = self.ring.chain_at(position)
            yield chain, ("available", position)

    def take_buffers(self, found: list[tuple]) -> None:
        """Take these, the first ones of `buffers`."""
        for kind, what in found:
            if kind == "kept":
                self.uring.release(what)
            elif kind == "receive":
                self.uring.use_receive_buffers(what)
            else:
                self.state.position.next_avail = what
