"""virtio over MMIO, version 2 (VIRTIO 1.2, section 4.2): everything but what a device is for.

Derive from VirtioMmioDevice: give `features`, `config` (a view of the configuration that
follows the registers) and `serve(queue)`.
"""

from __future__ import annotations

from time import monotonic_ns

from .device import Place, RegisterDevice
from .devmodel.engine import STRIDE
from .devmodel.layout import DeviceLayout, layout_block, layout_device
from .devmodel.view import view_of
from .devmodel.virtio_mmio import CONFIG, VirtioMmio
from .devmodel.virtqueue import Side
from .engine import Engine, EngineUnavailable
from .guestlog import GuestLog
from .sync._shared import lib
from .sync.ownership import Ownership
from .virtqueue import BrokenQueue, UserQueue

INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32     # VIRTIO 1.2, 6
DRIVER_OK, FEATURES_OK, NEEDS_RESET = 4, 8, 64                      # device status, 2.1
USED_BUFFER, CONFIG_CHANGE = 1, 2                                   # interrupt status, 4.2.2

STUCK_S = 60    # seconds to wait for requests in flight before giving up on the host

_POSTED = ("queue_num", "queue_desc_low", "queue_desc_high", "queue_driver_low",
           "queue_driver_high", "queue_device_low", "queue_device_high")


class VirtioMmioDevice(RegisterDevice):
    """The transport.  `queue_sizes` holds the most entries of each queue."""

    config_type: type       # the Block that lies at CONFIG

    def __init__(self, name: str, features: int, queue_sizes: list[int]):
        super().__init__(name)
        self.offered = features | VERSION_1 | INDIRECT_DESC | EVENT_IDX
        self.queue_sizes = queue_sizes
        self.accepted = 0
        self.queues: list[UserQueue] = []
        self.home = Side.USER
        self.insists = False        # on rings: without them it is not offloaded
        self._unseen: dict = {}     # engines whose completions waited at the last look
        self.no_ring = ""           # why there is none, if there is none
        self.log = GuestLog("splitvmm.virtio")

    @property
    def transport(self) -> DeviceLayout:
        return layout_device(VirtioMmio)

    def attach(self, place: Place) -> None:
        super().attach(place)
        self.config = view_of(layout_block(self.config_type))(place.page + CONFIG, place.keep)
        self.queues = [UserQueue(f"{self.name} queue {i}", i, self.state.queue[i], place.memory)
                       for i in range(len(self.queue_sizes))]
        if place.engines:
            for i, queue in enumerate(self.queues[:self.engine_queues]):
                queue.engine = Engine(queue.name, place.engines + i * STRIDE, place.memory.address,
                                      queue.ownership.held_by_user)
        self.page.device_id = self.layout.id
        self._reset_registers()

    def ownerships(self) -> list[Ownership]:
        return [self.control, *(queue.ownership for queue in self.queues if queue.ready and self._live)]

    @property
    def _live(self) -> bool:
        """Whether queues may be served: not before DRIVER_OK (3.1.1), nor while a reset is needed.
        Otherwise they are userspace's, whatever the offload."""
        return self.page.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK

    def set_home(self, home: Side) -> None:
        self.home = home
        if home == Side.KERNEL:
            with self.lock:
                for queue in self.queues:
                    self.before_giving(queue)
                super().set_home(home)
                for queue in self.queues:
                    self._ask(queue)
            return
        super().set_home(home)
        with self.lock:         # doorbells that were on their way in are ours now
            for queue in self.queues:
                self._settle(queue)
                self._serve(queue)

    def before_giving(self, queue: UserQueue) -> None:
        """The kernel half is about to have this queue."""

    def _ask(self, queue: UserQueue) -> None:
        """A queue that the kernel half has now may have something to start with, and no doorbell to
        come."""

    # asynchronous I/O

    def ask_for_ring(self, how: str) -> None:
        """`on` (an error if there is none), `off` or `auto`; before the device is offloaded."""
        self.asynchronous, self.insists = how != "off", how == "on"

    def engine_files(self) -> list[int]:
        """What the rings do I/O on, one descriptor for each queue with an engine."""
        return []

    def start_engines(self, completion_fd: int, interrupt_fd: int, polled: bool, raises: bool,
                      attach: int = -1) -> None:
        self.no_ring = "" if self.asynchronous else "async=off"
        for queue, file in zip(self.queues, self.engine_files()):
            if queue.engine and not self.no_ring:
                try:
                    queue.engine.start([file, interrupt_fd], completion_fd, polled, attach, raises)
                except EngineUnavailable as error:
                    if self.insists:
                        raise
                    self.no_ring = str(error)
                    self.stop_engines()
                else:
                    attach = queue.engine.fd if attach < 0 else attach

    def stop_engines(self) -> None:
        for queue in self.queues:
            if queue.engine:
                queue.engine.stop()

    def close(self) -> None:
        for queue in self.queues:
            if queue.engine:
                queue.engine.close()

    def ring(self) -> int:
        return next((q.engine.fd for q in self.queues if q.engine and q.engine.ready), -1)

    def look_after(self) -> None:
        for queue in self.queues:
            if queue.engine and queue.engine.pending and queue.engine is self._unseen.get(queue.index):
                self.called(queue.index, 0)
        self._unseen = {q.index: q.engine for q in self.queues if q.engine and q.engine.pending}

    def called(self, queue: int, reason: int) -> None:
        if queue < len(self.queues):
            with self.lock:
                if self.queues[queue].engine:
                    self.queues[queue].engine.kick()
                if reason != self.layout.reasons.RING_ASLEEP:
                    self._serve(self.queues[queue])

    def _settle(self, queue: UserQueue) -> None:
        """Wait for what is in flight; userspace holds the queue."""
        engine = queue.engine
        while engine and engine.outstanding:
            engine.wait(STUCK_S)
            self._collect(queue)

    def _collect(self, queue: UserQueue) -> tuple[int, int]:
        """Deal with what came back from the ring; returns requests and bytes.  May raise BrokenQueue."""
        engine, requests, moved = queue.engine, 0, 0
        if engine is None or not engine.ready:
            return 0, 0
        engine.kick()
        for tag, index, result in engine.completions():
            if not tag.kind:
                engine.release(index)
            elif (done := self.came_back(queue, tag, result)) is None:
                engine.keep(index)
            else:
                engine.release(index)
                requests, moved = requests + 1, moved + done
        for tag, index in self.to_redo(queue):
            moved += self.redo(queue, tag.head)
            engine.release(index)
            requests += 1
        return requests, moved

    def came_back(self, queue: UserQueue, tag, result: int) -> int | None:
        """A request is back from the ring: push it and return the bytes moved, or None to keep it."""
        raise NotImplementedError

    def to_redo(self, queue: UserQueue) -> list:
        """Requests that were kept, and that `redo` shall do: (tag, its number)."""
        return list(queue.engine.failed())

    def redo(self, queue: UserQueue, head: int) -> int:
        """Do a request from the beginning, and push it.  Returns bytes moved.  May raise BrokenQueue."""
        raise NotImplementedError

    def _drop(self, queue: UserQueue) -> None:
        """Forget what is in flight, once it can no longer touch guest memory; for a reset."""
        engine = queue.engine
        if not engine:
            return
        while engine.outstanding:
            engine.cancel()
            engine.wait(STUCK_S)
            for _, index, _ in engine.completions():
                engine.release(index)
        for _, index in list(engine.failed()):
            engine.release(index)

    # registers that userspace takes

    def _reset_registers(self) -> None:
        self.page.queue_num_max = self.queue_sizes[0] if self.queue_sizes else 0
        self.page.device_features = self.offered & 0xffffffff
        self._driver_window = self._selected = 0

    def on_write_device_features_sel(self, value: int) -> None:
        self.page.device_features = self.offered >> 32 * value & 0xffffffff if value < 2 else 0

    def on_write_driver_features_sel(self, value: int) -> None:
        self._driver_window = value

    def on_write_driver_features(self, value: int) -> None:
        if self.page.status & FEATURES_OK or self._driver_window > 1:
            return          # too late (2.2.1), or no such bits
        shift = 32 * self._driver_window
        self.accepted = self.accepted & ~(0xffffffff << shift) | value << shift

    def on_write_queue_sel(self, value: int) -> None:
        self._selected = value
        known = value < len(self.queues)
        self.page.queue_num_max = self.queue_sizes[value] if known else 0
        self.page.queue_ready = int(known and self.queues[value].ready)
        for name in _POSTED:
            setattr(self.page, name, 0)

    def on_write_queue_ready(self, value: int) -> None:
        if self._selected >= len(self.queues):
            return
        queue = self.queues[self._selected]
        if value & 1 and not queue.ready:
            try:
                self._start(queue)
            except BrokenQueue as error:
                self._needs_reset(error)
        elif not value & 1 and queue.ready:
            self._stop(queue)
        self.page.queue_ready = int(queue.ready)

    def on_write_status(self, value: int) -> None:
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
                    queue.ownership.move(self.home)
                    self._serve(queue)      # a doorbell may have been too early
                    self._ask(queue)

    def driver_ready(self) -> None:
        """The driver has negotiated, and queues are about to be served."""

    def on_write_queue_notify(self, value: int) -> None:
        if value < len(self.queues):
            self.queues[value].state.user.doorbells += 1
            self._serve(self.queues[value])

    @property
    def _interrupt_status(self) -> int:
        return self.place.page + self.transport.registers["interrupt_status"].offset

    def _features_fit(self) -> bool:
        return bool(self.accepted & VERSION_1) and not self.accepted & ~self.offered

    def reset(self) -> None:
        """Back to the beginning (2.4); requests in flight are over, none is served after it."""
        for queue in self.queues:
            if queue.ready:
                self._stop(queue)
        self.accepted = 0
        self.page.status = 0
        lib.fetch_and32(self._interrupt_status, 0)
        for name in _POSTED:
            setattr(self.page, name, 0)
        self.page.queue_ready = 0
        self._reset_registers()

    def write_undeclared(self, offset: int, width: int, value: int) -> None:
        if offset >= CONFIG:
            with self.lock:
                self.config_write(offset - CONFIG, width, value)

    def config_write(self, offset: int, width: int, value: int) -> None:
        """A write of device configuration; by default it has no effect."""

    # queues

    def _start(self, queue: UserQueue) -> None:
        if not self.page.status & FEATURES_OK:
            raise BrokenQueue(f"{queue.name}: started before FEATURES_OK; wanted negotiation first (3.1.1)")
        page = self.page
        desc = page.queue_desc_low | page.queue_desc_high << 32
        avail = page.queue_driver_low | page.queue_driver_high << 32
        used = page.queue_device_low | page.queue_device_high << 32
        queue.check(page.queue_num, self.queue_sizes[queue.index], desc, avail, used)
        setup, position = queue.state.setup, queue.state.position
        setup.desc, setup.avail, setup.used, setup.size = desc, avail, used, page.queue_num
        setup.event_index = int(bool(self.accepted & EVENT_IDX))
        setup.indirect = int(bool(self.accepted & INDIRECT_DESC))
        position.next_avail = position.next_used = position.signalled = position.signalled_valid = 0
        setup.ready = 1
        queue.latch()
        if self._live:
            queue.ownership.move(self.home)

    def _stop(self, queue: UserQueue) -> None:
        queue.ownership.move(Side.USER)
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
            again = queue.engine and queue.engine.pending and self._live

    def _serve_held(self, queue: UserQueue) -> None:
        started = monotonic_ns()
        counters = queue.state.user
        with queue.ownership:
            try:
                requests, moved = self._collect(queue)
                served = self.serve(queue)
            except BrokenQueue as error:
                if queue.wants_interrupt():     # for what was completed before it
                    self.interrupt(USED_BUFFER)
                self._needs_reset(error)
                return
            wanted = queue.wants_interrupt()
        if requests + served[0]:
            counters.handled += requests + served[0]
            counters.bytes += moved + served[1]
        counters.busy_ns += monotonic_ns() - started
        if wanted:
            self.interrupt(USED_BUFFER)

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        """Serve a queue empty; returns requests and bytes.  May raise BrokenQueue."""
        raise NotImplementedError

    def interrupt(self, cause: int) -> None:
        lib.fetch_or32(self._interrupt_status, cause)
        self.place.line.pulse()

    def config_changed(self) -> None:
        """Device configuration is new: the generation moves, and the driver is told (2.5.1)."""
        self.page.config_generation = (self.page.config_generation + 1) & 0xffffffff
        if self.page.status & DRIVER_OK:
            self.interrupt(CONFIG_CHANGE)

    def _needs_reset(self, why: Exception) -> None:
        """The driver broke a rule: no queue is served until it resets the device (2.1.2)."""
        self.log.warning("%s; the device needs a reset", why)
        for queue in self.queues:
            if queue.ready:
                queue.ownership.home = Side.USER
                if queue.ownership.holder == Side.KERNEL:
                    queue.ownership.take()
        self.page.status |= NEEDS_RESET
        self.interrupt(CONFIG_CHANGE)
