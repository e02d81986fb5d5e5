"""What a driver does by way of the transport: features, status, queues (VIRTIO 1.2, chapters 2 and 3)."""

from __future__ import annotations

import logging

from ..devmodel.virtqueue import Side
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue
from .transport import FEATURES_OK, NEEDS_RESET

INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED = 1 << 28, 1 << 29, 1 << 32, 1 << 34     # VIRTIO 1.2, 6

log = logging.getLogger("splitvmm.virtio")


class Negotiation:
    """The part of a VirtioDevice that is about it."""

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
            log.debug("%s: the driver is ready, features %#x", self.name, self.accepted)
            self.driver_ready()
            for queue in self.queues:
                if queue.ready:
                    queue.ownership.assign(self.assigned)
                    self._serve(queue)      # a doorbell may have been too early
                    self._kick(queue)
        elif was_live and not self._live:   # which no driver may do (2.1.1)
            self._take_queues()

    def _take_queues(self) -> None:
        """No queue is served any more: all are userspace's."""
        for queue in self.queues:
            if queue.ready:
                queue.ownership.assign(Side.USER)
                self._settle(queue)
                self.show_used(queue)

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
        log.debug("%s: the driver resets it", self.name)
        self.transport.reset()

    def write_undeclared(self, offset: int, width: int, value: int) -> None:
        if offset < self.transport.config:
            super().write_undeclared(offset, width, value)
            return
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
