"""Queues whose buffers wait for input: which half has each, and what becomes of buffers that the kernel
half does not take."""

from __future__ import annotations

from ..devmodel.virtqueue import Side
from ..virtqueue.ring import BrokenQueue
from ..virtqueue.virtqueue import UserQueue

READV = 1       # IORING_OP_READV


class ReceiveQueues:
    """The part of a VirtioDevice that is about them."""

    def receives(self, index: int) -> bool:
        """Whether a queue is for input.  What is in flight there would wait for ever, so it is cancelled
        when userspace takes over; its buffers are kept, and are the first to be filled."""
        return False

    def user_receives(self, queue: UserQueue) -> bool:
        """Whether input for it is userspace's to take now, and there is a buffer."""
        ownership = queue.ownership
        if not (queue.ready and self._live and ownership.assigned == Side.USER and ownership.held_by_user()):
            return False
        try:
            return queue.has_buffers()
        except BrokenQueue as error:
            self._needs_reset(error)
            return False

    permanent_reasons = ("FRAMING", "NO_RING", "IO_FAILED")     # for which its buffers are declined for good

    def _permanent_declines(self, queue: UserQueue) -> int:
        reasons, declined = self.layout.reasons, queue.state.entry.declined
        return sum(declined[reasons[name]] for name in self.permanent_reasons if name in reasons.__members__)

    def _keep_if_declined_for_good(self, queue: UserQueue) -> None:
        """A receive queue whose next buffer the handler does not take is userspace's, until the driver
        resets the device."""
        before = self._declines_before.get(queue.index, 0)
        if queue.ownership.assigned == Side.KERNEL and self._permanent_declines(queue) > before:
            queue.ownership.assigned = Side.USER
            self._settle(queue)

    def nudge(self) -> None:
        """Whose the receive queues are, or their buffers, may have changed."""

    def _before_giving(self, queue: UserQueue) -> None:
        """The kernel half is about to have this queue."""
        if self.receives(queue.index) and queue.uring and queue.uring.ready and queue.ownership.held_by_user():
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
            self.show_used(queue)
        self.nudge()
