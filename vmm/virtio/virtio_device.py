"""A virtio device (VIRTIO 1.2, chapters 2 and 3), whatever it is for and however it is reached.

Derive from VirtioDevice: give `features`, `config` (a view of the configuration that follows
the transport's registers) and `serve(queue)`.  A Transport (virtio_mmio.py, virtio_pci.py) is
what the driver reaches it by; a device does not know which.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, monotonic_ns

from ..device.guestlog import GuestLog
from ..device.register_device import Place, RegisterDevice, Routed
from ..devmodel.device_layout import DeviceLayout, layout_device
from ..devmodel.layout import layout_block
from ..devmodel.uring import STRIDE
from ..devmodel.view import view_of
from ..devmodel.virtqueue import Side
from ..sync.ownership import Ownership
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.uring import StuckRequests, Uring, UringUnavailable
from ..virtqueue.virtqueue import UserQueue

INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED = 1 << 28, 1 << 29, 1 << 32, 1 << 34     # VIRTIO 1.2, 6
DRIVER_OK, FEATURES_OK, NEEDS_RESET = 4, 8, 64                      # device status, 2.1

STUCK_S = 60    # seconds to wait for requests in flight before giving up on the host
CANCEL_S = 0.5  # seconds to wait for those that are cancelled before doing so again
READV = 1       # IORING_OP_READV


class Transport:
    """What a driver reaches a virtio device by: the registers that every transport has, under the
    same names.  `schema` declares them, `config` is where in the page device configuration
    starts, in bytes."""

    schema: type
    config: int
    cause_offset = 0    # of the register that tells why the device interrupts, if there is one

    def __init__(self):
        self.layout = layout_device(self.schema)

    def attach(self, device: VirtioDevice) -> None:
        """The device has its place now."""
        self.device, self.page, self.place = device, device.page, device.place
        self.reset()

    def reset(self) -> None:
        """Registers as a driver first finds them."""
        self.selected = self._driver_window = 0
        self.page.device_features = self.device.offered & 0xffffffff
        self.page.status = 0
        self.show_queue()

    def show_queue(self) -> None:
        """Registers of the selected queue."""
        raise NotImplementedError

    def selected_queue(self) -> UserQueue | None:
        queues = self.device.queues
        return queues[self.selected] if self.selected < len(queues) else None

    def routes(self) -> list[Routed]:
        """What the exit path is to take while the device is offloaded."""
        return self.device.page_routes()

    def line(self, queue: int):
        """The interrupt line of a queue."""
        raise NotImplementedError

    def queue_used(self, queue: int) -> None:
        """Tell the driver that buffers have been used (2.3)."""
        raise NotImplementedError

    def config_changed(self) -> None:
        """Tell the driver that device configuration, or the status, has changed (2.3)."""
        raise NotImplementedError

    # registers that userspace takes

    def on_write_device_features_sel(self, value: int) -> None:
        self.page.device_features_sel = value
        self.page.device_features = self.device.offered >> 32 * value & 0xffffffff if value < 2 else 0

    def on_write_driver_features_sel(self, value: int) -> None:
        self.page.driver_features_sel = self._driver_window = value

    def on_write_driver_features(self, value: int) -> None:
        self.device.accept(self._driver_window, value)

    def on_write_queue_sel(self, value: int) -> None:
        self.page.queue_sel = self.selected = value
        self.show_queue()

    def on_write_queue_ready(self, value: int) -> None:
        queue = self.selected_queue()
        if queue is None:
            return
        page = self.page
        if value & 1 and not queue.ready:
            self.device.start_queue(queue, page.queue_num, *(
                getattr(page, f"queue_{area}_low") | getattr(page, f"queue_{area}_high") << 32
                for area in ("desc", "driver", "device")))
        elif not value & 1 and queue.ready:
            self.device.stop_queue(queue)
        page.queue_ready = int(queue.ready)

    def on_write_status(self, value: int) -> None:
        self.device.set_status(value)

    def on_write_queue_notify(self, value: int) -> None:
        self.device.notified(value)


class VirtioDevice(RegisterDevice):
    """A virtio device.  `queue_sizes` holds the most entries of each queue."""

    config_type: type       # the Block that lies at the transport's `config`

    def __init__(self, name: str, features: int, queue_sizes: list[int]):
        super().__init__(name)
        self.offered = features | VERSION_1 | INDIRECT_DESC | EVENT_IDX
        self.queue_sizes = queue_sizes
        self.accepted = 0
        self.queues: list[UserQueue] = []
        self.assigned = Side.USER
        self.insists = False        # on rings: without them it is not offloaded
        self._declines_before: dict[int, int] = {}   # declines of a receive queue when the driver started it
        self._unseen: dict = {}     # urings whose completions waited at the last look
        self.no_ring = ""           # why there is none, if there is none
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
        self.queues = [UserQueue(f"{self.name} queue {i}", i, self.state.queue[i], place.memory)
                       for i in range(len(self.queue_sizes))]
        if place.urings:
            for i, queue in enumerate(self.queues[:self.uring_queues]):
                queue.uring = Uring(queue.name, place.urings + i * STRIDE, place.memory.address,
                                      queue.ownership.held_by_user)
        self.transport.attach(self)

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
                    self._kick(queue)
            self.nudge()
            return
        super().assign(side)
        with self.lock:         # doorbells that were on their way in are ours now
            for queue in self.queues:
                self._settle(queue)
                self._serve(queue)
        self.nudge()

    # receive queues, whose buffers wait for input

    def receives(self, index: int) -> bool:
        """Whether a queue is for input.  What is in flight there would wait for ever, so it is cancelled
        when userspace takes over; its buffers are kept, and are the first to be filled."""
        return False

    def user_receives(self, queue: UserQueue) -> bool:
        """Whether input for it is userspace's to take now, and there is a buffer."""
        if not (queue.ready and self._live and queue.ownership.assigned == Side.USER and queue.ownership.held_by_user()):
            return False
        try:
            return queue.has_buffers()
        except BrokenQueue as error:
            self._needs_reset(error)
            return False

    permanent_reasons = ("FRAMING", "NO_RING", "IO_FAILED")   # for which a receive queue's buffers are declined for good

    def _permanent_declines(self, queue: UserQueue) -> int:
        reasons, declined = self.layout.reasons, queue.state.entry.declined
        return sum(declined[reasons[name]] for name in self.permanent_reasons if name in reasons.__members__)

    def _keep_if_declined_for_good(self, queue: UserQueue) -> None:
        """A receive queue whose next buffer the handler does not take is userspace's, until the driver
        resets the device."""
        if queue.ownership.assigned == Side.KERNEL and self._permanent_declines(queue) > self._declines_before.get(queue.index, 0):
            queue.ownership.assigned = Side.USER
            self._settle(queue)

    def nudge(self) -> None:
        """Whose the receive queues are, or their buffers, may have changed."""

    def _before_giving(self, queue: UserQueue) -> None:
        """The kernel half is about to have this queue."""
        if self.receives(queue.index) and queue.uring and queue.uring.ready:
            queue.uring.resubmit(READV)

    def _kick(self, queue: UserQueue) -> None:
        """A receive queue that the kernel half has now may have buffers that were made available long
        ago, and no doorbell to come."""
        if self.receives(queue.index) and queue.uring and queue.ready and not queue.ownership.held_by_user():
            queue.uring.kick()

    def assign_receive(self, queue: UserQueue, side: Side) -> None:
        """Give one receive queue to the other half, while the rest of the device stays."""
        if side == Side.KERNEL:
            self._before_giving(queue)
        queue.ownership.assign(side)
        if side == Side.KERNEL:
            self._kick(queue)
        else:
            self._settle(queue)
        self.nudge()

    def offer_packed(self) -> None:
        """Let the driver choose packed rings; before it is attached."""
        self.offered |= RING_PACKED

    # asynchronous I/O

    def ask_for_ring(self, how: str) -> None:
        """`on` (an error if there is none), `off` or `auto`; before the device is offloaded."""
        self.asynchronous, self.insists = how != "off", how == "on"

    def uring_files(self) -> list[int]:
        """What the rings do I/O on, one descriptor for each queue with an io_uring."""
        return []

    def lazy_notify(self, index: int) -> bool:
        """Whether a queue's requests are done as soon as the ring comes to them: then those that are made
        available meanwhile can wait for that, and need no doorbell."""
        return False

    def start_urings(self, eventfds: Callable[[int], tuple[int, int]], polled: bool, raises: bool,
                      attach: int = -1) -> None:
        self.no_ring = "" if self.asynchronous else "async=off"
        with self.lock:     # others may be filling the buffers that are kept
            self._start_urings(eventfds, polled, raises, attach)

    def _start_urings(self, eventfds, polled: bool, raises: bool, attach: int) -> None:
        for queue, file in zip(self.queues, self.uring_files()):
            if queue.uring and not self.no_ring:
                completion_fd, interrupt_fd = eventfds(queue.index)
                try:
                    queue.uring.start([file, interrupt_fd], completion_fd, polled, attach, raises,
                                       self.lazy_notify(queue.index))
                except UringUnavailable as error:
                    if self.insists:
                        raise
                    self.no_ring = str(error)
                    self.stop_urings()
                else:
                    attach = queue.uring.fd if attach < 0 else attach

    def stop_urings(self) -> None:
        with self.lock:
            for queue in self.queues:
                if queue.uring:
                    queue.uring.stop()

    def close(self) -> None:
        for queue in self.queues:
            if queue.uring:
                queue.uring.close()

    def ring(self) -> int:
        return next((q.uring.fd for q in self.queues if q.uring and q.uring.ready), -1)

    def poll_completions(self) -> None:
        for queue in self.queues:
            if queue.uring and queue.uring.pending and queue.uring is self._unseen.get(queue.index):
                self.upcalled(queue.index, 0)
        self._unseen = {q.index: q.uring for q in self.queues if q.uring and q.uring.pending}

    def upcalled(self, queue: int, reason: int) -> None:
        if queue < len(self.queues):
            with self.lock:
                if self.queues[queue].uring:
                    self.queues[queue].uring.enter()
                if reason != self.layout.reasons.RING_ASLEEP:
                    self._serve(self.queues[queue])

    def patience_s(self, queue: UserQueue) -> float | None:
        """How long to wait for what is in flight before it is cancelled; None: it is not."""
        return 0 if self.receives(queue.index) else None

    def _settle(self, queue: UserQueue) -> None:
        """Wait for what is in flight; userspace holds the queue."""
        uring, patience = queue.uring, self.patience_s(queue)
        started = monotonic()
        while uring and uring.outstanding:
            if patience is None:
                uring.wait(STUCK_S)
            else:
                if monotonic() >= started + patience:
                    uring.cancel()
                with suppress(StuckRequests):
                    uring.wait(CANCEL_S)
            self._collect(queue)

    def _collect(self, queue: UserQueue) -> tuple[int, int]:
        """Deal with what came back from the ring; returns requests and bytes.  May raise BrokenQueue."""
        uring, requests, moved = queue.uring, 0, 0
        if uring is None or not uring.ready:
            return 0, 0
        uring.enter()
        for tag, index, result in uring.completions():
            if not tag.kind:
                uring.release(index)
            elif (done := self.came_back(queue, tag, result)) is None:
                uring.keep(index)
            else:
                uring.release(index)
                requests, moved = requests + done[0], moved + done[1]
        for tag, index in self.to_redo(queue):
            moved += self.redo(queue, tag, uring.parts(tag, index))
            uring.release(index)
            requests += 1
        return requests, moved

    def came_back(self, queue: UserQueue, tag, result: int) -> tuple[int, int] | None:
        """Something is back from the ring: push it and return requests and bytes, or None to keep it."""
        raise NotImplementedError

    def to_redo(self, queue: UserQueue) -> list:
        """Requests that were kept, and that `redo` shall do: (tag, its number)."""
        return [] if self.receives(queue.index) else list(queue.uring.failed())

    def redo(self, queue: UserQueue, tag, parts: list[tuple[int, int]]) -> int:
        """Do a request from the beginning, and push it.  Its descriptors may be gone: `tag` and its data
        buffers are what is known of it.  Returns bytes moved."""
        raise NotImplementedError

    def _drop(self, queue: UserQueue) -> None:
        """Forget what is in flight, once it can no longer touch guest memory; for a reset."""
        uring = queue.uring
        if not uring:
            return
        while uring.outstanding:
            uring.cancel()
            uring.wait(STUCK_S)
            for _, index, _ in uring.completions():
                uring.release(index)
        for _, index in list(uring.failed()):
            uring.release(index)
        uring.forget_receive_buffers()

    # what a driver does, by way of the transport

    def accept(self, window: int, bits: int) -> None:
        """The driver accepts these 32 feature bits."""
        if self.page.status & FEATURES_OK or window > 1:
            return          # too late (2.2.1), or no such bits
        shift = 32 * window
        self.accepted = self.accepted & ~(0xffffffff << shift) | bits << shift

    def set_status(self, value: int) -> None:
        """The driver writes the device status (2.1); 0 resets."""
        if value == 0:
            self.reset()
            return
        if value & FEATURES_OK and not self.page.status & FEATURES_OK and not self._features_fit():
            value &= ~FEATURES_OK       # the driver reads it back and gives up (2.2.2)
        was_live = self._live
        self.page.status = value & 0xff | self.page.status & NEEDS_RESET
        if self._live and not was_live:
            self.driver_ready()
            for queue in self.queues:
                if queue.ready:
                    queue.ownership.assign(self.assigned)
                    self._serve(queue)      # a doorbell may have been too early
                    self._kick(queue)

    def driver_ready(self) -> None:
        """The driver has negotiated, and queues are about to be served."""

    def notified(self, index: int) -> None:
        """A doorbell."""
        if index < len(self.queues):
            self.queues[index].state.user.doorbells += 1
            self._serve(self.queues[index])

    def _features_fit(self) -> bool:
        return bool(self.accepted & VERSION_1) and not self.accepted & ~self.offered

    def reset(self) -> None:
        """Back to the beginning (2.4); requests in flight are over, none is served after it."""
        for queue in self.queues:
            if queue.ready:
                self.stop_queue(queue)
        self.accepted = 0
        self.transport.reset()

    def write_undeclared(self, offset: int, width: int, value: int) -> None:
        if offset >= self.transport.config:
            with self.lock:
                self.config_write(offset - self.transport.config, width, value)

    def config_write(self, offset: int, width: int, value: int) -> None:
        """A write of device configuration; by default it has no effect."""

    # queues

    def start_queue(self, queue: UserQueue, size: int, desc: int, driver: int, device: int) -> None:
        """The driver makes a queue ready; what is unsound leaves it as it is, and the device in need
        of a reset."""
        packed = bool(self.accepted & RING_PACKED)
        try:
            if not self.page.status & FEATURES_OK:
                raise BrokenQueue(f"{queue.name}: started before FEATURES_OK; wanted negotiation first (3.1.1)")
            queue.check(packed, size, self.queue_sizes[queue.index], desc, driver, device)
        except BrokenQueue as error:
            self._needs_reset(error)
            return
        setup = queue.state.setup
        setup.desc, setup.avail, setup.used, setup.size = desc, driver, device, size
        setup.event_index = int(bool(self.accepted & EVENT_IDX))
        setup.indirect = int(bool(self.accepted & INDIRECT_DESC))
        setup.packed, setup.cause = int(packed), self.transport.cause_offset
        setup.ready = 1
        queue.latch()
        queue.ring.start()
        self._declines_before[queue.index] = self._permanent_declines(queue)
        if self._live:
            queue.ownership.assign(self.assigned)

    def stop_queue(self, queue: UserQueue) -> None:
        queue.ownership.assign(Side.USER)
        self._drop(queue)
        queue.state.setup.ready = 0
        queue.latch()

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
        counters = queue.state.user
        with queue.ownership:
            try:
                requests, moved = self._collect(queue)
                if self.receives(queue.index):
                    self._keep_if_declined_for_good(queue)
                served = self.serve(queue)
            except BrokenQueue as error:
                if queue.wants_interrupt():     # for what was completed before it
                    self.transport.queue_used(queue.index)
                self._needs_reset(error)
                return
            wanted = queue.wants_interrupt()
        if requests + served[0]:
            counters.handled += requests + served[0]
            counters.bytes += moved + served[1]
        counters.busy_ns += monotonic_ns() - started
        if wanted:
            self.transport.queue_used(queue.index)

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
        self.log.warning("%s; the device needs a reset", why)
        for queue in self.queues:
            if queue.ready:
                queue.ownership.assigned = Side.USER
                if queue.ownership.holder == Side.KERNEL:
                    queue.ownership.take()
        self.page.status |= NEEDS_RESET
        self.transport.config_changed()
