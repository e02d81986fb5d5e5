"""A virtio device (VIRTIO 1.2, chapters 2 and 3), whatever it is for and however it is reached.

Derive from VirtioDevice: give `features`, `config` (a view of the configuration that follows
the transport's registers) and `serve(queue)`.  A Transport (virtio_mmio.py, virtio_pci.py) is
what the driver reaches it by; a device does not know which.  What a driver sets up, what is in flight,
and queues for input are parts of their own: negotiation.py, in_flight.py, receive_queues.py.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic_ns

from ..device.guestlog import GuestLog
from ..device.place import Place, Routed
from ..device.register_device import RegisterDevice
from ..devmodel.device_layout import DeviceLayout
from ..devmodel.layout import layout_block
from ..devmodel.uring import STRIDE
from ..devmodel.view import view_of
from ..devmodel.virtqueue import NoConfig, Side
from ..sync.counting import count
from ..sync.ownership import Ownership
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.uring import NEVER, Uring
from ..virtqueue.virtqueue import UserQueue
from .in_flight import InFlight
from .negotiation import EVENT_IDX, INDIRECT_DESC, RING_PACKED, VERSION_1, Negotiation
from .receive_queues import ReceiveQueues
from .transport import DRIVER_OK, NEEDS_RESET, Transport


class VirtioDevice(Negotiation, InFlight, ReceiveQueues, RegisterDevice):
    """A virtio device.  `queue_sizes` holds the most entries of each queue; by default those of the schema."""

    config_type: type = NoConfig    # the Block that lies at the transport's `config`
    has_transport = True
    doorbell_interrupts = True

    def __init__(self, name: str, features: int = 0, queue_sizes: list[int] | None = None, **given: object):
        super().__init__(name, **given)
        self.offered = features | VERSION_1 | INDIRECT_DESC | EVENT_IDX
        self.queue_sizes = queue_sizes or [queue.size for queue in self.layout.queues.values()
                                           for _ in range(queue.count)]
        self.accepted = 0
        self.queues: list[UserQueue] = []
        self.assigned = Side.USER
        self.upcalls = [0] * len(self.queue_sizes)       # of each queue, since it is there
        self.poll = NEVER           # how busy queues are looked at
        self.insists = False        # on rings: without them it is not offloaded
        self._declines_before: dict[int, int] = {}   # declines of a receive queue when the driver started it
        self._unseen: dict = {}     # queue -> its io_uring, if completions waited at the last look
        self.no_ring = ""           # why there is none, if there is none
        self.broken = ""            # why the device last needed a reset
        self.log = GuestLog("splitvmm.virtio")
        self.transport: Transport | None = None     # given by the machine, before `attach`

    @property
    def registers(self) -> DeviceLayout:
        return self.transport.layout

    @property
    def queue_count(self) -> int:
        return len(self.queue_sizes)

    @property
    def taker(self) -> Transport:
        return self.transport

    def attach(self, place: Place) -> None:
        super().attach(place)
        self.config = view_of(layout_block(self.config_type))(place.page + self.transport.config, place.keep)
        self.queues = [UserQueue(f"{self.name} queue {i}", i, self.state.queue[i], place.memory,
                                 partial(place.ownership, queue=i))
                       for i in range(len(self.queue_sizes))]
        if place.urings:
            for i, queue in enumerate(self.queues[:self.uring_queues]):
                queue.uring = Uring(queue.name, place.urings + i * STRIDE, place.memory.address,
                                    queue.ownership.held_by_user)
        self.transport.attach(self)

    def holds_blocks(self) -> bool:
        """Each HOLDER block goes with a queue; `serve` is called with that one held."""
        return True

    def routes(self) -> list[Routed]:
        return self.transport.routes()

    def line(self, queue: int = 0):
        return self.transport.line(queue)

    def ownerships(self) -> list[Ownership]:
        return [self.control, *(queue.ownership for queue in self.queues if queue.ready and self._live)]

    @property
    def _live(self) -> bool:
        """Whether queues may be served: not before DRIVER_OK (3.1.1), nor while a reset is needed.
        Otherwise they are userspace's, whatever the offload."""
        return self.page.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK

    def assign(self, side: Side) -> None:
        self.assigned = side
        if side == Side.KERNEL:
            with self.lock:
                for queue in self.queues:
                    self._before_giving(queue)
                super().assign(side)
                for queue in self.queues:
                    if queue.uring and queue.uring.pending:     # before the kernel half could see that it is its own
                        self._serve(queue)
                    self._kick(queue)
            self.nudge()
            return
        super().assign(side)
        with self.lock:         # doorbells that were on their way in are ours now
            for queue in self.queues:
                self._settle(queue)
                self._serve(queue)
        self.nudge()

    def offer_packed(self) -> None:
        """Let the driver choose packed rings; before it is attached."""
        self.offered |= RING_PACKED

    # queues

    def _serve(self, queue: UserQueue) -> None:
        """Take the queue, serve it empty, give it back."""
        if not queue.ready or not self._live:
            return
        again = True
        while again:        # what came back while we held the queue had nobody else to look at it
            self._serve_held(queue)
            again = queue.uring and queue.uring.pending and self._live
        self._kick(queue)        # what was declined for being held, or busy, is still to be read into
        if self.receives(queue.index):
            self.nudge()

    def _serve_held(self, queue: UserQueue) -> None:
        started = monotonic_ns()
        with queue.ownership:
            if queue.uring:
                queue.uring.looks.polling = 0      # doorbells are asked for, from now on
            try:
                if self.in_order(queue.index):
                    self._settle(queue)
                else:
                    self._collect(queue)
                if self.receives(queue.index):
                    self._keep_if_declined_for_good(queue)
                self._serve_available(queue)
            except BrokenQueue as error:
                self._finish_before(queue)
                if queue.wants_interrupt():     # for what was completed before it
                    self.transport.queue_used(queue.index)
                self._needs_reset(error)
                return
            wanted = queue.wants_interrupt()
        count(queue.state.user, 0, 0, monotonic_ns() - started)
        if wanted:
            self.transport.queue_used(queue.index)

    def _serve_available(self, queue: UserQueue) -> None:
        """Raises BrokenQueue."""
        pushed = queue.pushed
        try:
            self._count_done(queue, *self.serve(queue))
        except BrokenQueue:
            self._count_done(queue, queue.pushed - pushed, 0)    # what it moved is not known
            raise

    def _finish_before(self, queue: UserQueue) -> None:
        """What the driver asked for before it broke a rule is done, and used, as without a ring.  Reads
        of what may never come are left to the reset."""
        if not self.receives(queue.index):
            with suppress(BrokenQueue):
                self._settle(queue)

    def show_used(self, queue: UserQueue) -> None:
        """Show the driver what was used, and interrupt it if it wants that; userspace holds the queue."""
        if queue.ready and queue.wants_interrupt():
            self.transport.queue_used(queue.index)

    def in_order(self, index: int) -> bool:
        """Whether a queue's requests are done one after the other, those in flight first."""
        return False

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        """Serve a queue empty; returns requests and bytes.  May raise BrokenQueue."""
        raise NotImplementedError

    def config_changed(self) -> None:
        """Device configuration is new: the generation moves, and the driver is told (2.5.1)."""
        self.page.config_generation = self.page.config_generation + 1 & 0xff
        if self.page.status & DRIVER_OK:
            self.transport.config_changed()

    def _needs_reset(self, why: Exception) -> None:
        """The driver broke a rule: no queue is served until it resets the device (2.1.2)."""
        self.broken = str(why)
        self.log.warning("%s; the device needs a reset", why)
        for queue in self.queues:
            if queue.ready:
                queue.ownership.assigned = Side.USER
                if queue.ownership.holder == Side.KERNEL:
                    queue.ownership.take()
        self.page.status |= NEEDS_RESET
        self.transport.config_changed()
