"""Requests that a device's io_urings have: the rings made and closed, and what comes back dealt with."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..devmodel.uring import Raises
from ..sync.counting import count
from ..virtqueue.uring import NEVER, Poll, UringUnavailable
from ..virtqueue.virtqueue import UserQueue

CANCEL_S = 0.5  # seconds to wait for those that are cancelled before doing so again


class InFlight:
    """The part of a VirtioDevice that is about them."""

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

    def ask_for_polling(self, how: str, idle_us: int) -> None:
        """Of busy queues, until nothing has come for so long: `on` (always), `off` or `auto` (while it is worth while);
        before the device is offloaded."""
        self.poll = Poll(idle_us, how == "on") if how != "off" else NEVER

    def polls(self, index: int) -> bool:
        """Whether a queue is one that a busy driver rings again and again, and polling spares that."""
        return not self.receives(index)

    def start_urings(self, eventfds: Callable[[int], tuple[int, int]], polled: bool, raises: Raises,
                      attach: int = -1) -> None:
        self.no_ring = "" if self.asynchronous else "async=off"
        with self.lock:     # others may be filling the buffers that are kept
            self._start_urings(eventfds, polled, raises, attach)

    def _start_urings(self, eventfds, polled: bool, raises: Raises, attach: int) -> None:
        for queue, file in zip(self.queues, self.uring_files()):
            if queue.uring and not self.no_ring:
                completion_fd, interrupt_fd = eventfds(queue.index)
                try:
                    queue.uring.start([file, interrupt_fd], completion_fd, polled, attach, raises,
                                       self.lazy_notify(queue.index),
                                       self.poll if self.polls(queue.index) else NEVER)
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
                    raises = queue.uring.ready and queue.uring.wiring.raises
                    queue.uring.stop()
                    # one that the ring had yet to raise found its line let go of, as lines go first; a
                    # driver bears one too many (2.7.7.1)
                    if raises and queue.ready:
                        self.transport.queue_used(queue.index)

    def close(self) -> None:
        for queue in self.queues:
            if queue.uring:
                queue.uring.close()

    def ring(self) -> int:
        return next((q.uring.fd for q in self.queues if q.uring and q.uring.ready), -1)

    def poll_completions(self) -> None:
        for queue in self.queues:
            if queue.uring:
                queue.uring.enter()     # if nobody has been told that its thread sleeps
            if queue.uring and queue.uring.pending and queue.uring is self._unseen.get(queue.index):
                self.upcalled(queue.index, 0)
        self._unseen = {q.index: q.uring for q in self.queues if q.uring and q.uring.pending}

    def upcalled(self, queue: int, reason: int) -> None:
        if queue < len(self.queues):
            with self.lock:
                self.upcalls[queue] += 1
                reasons, uring = self.layout.reasons, self.queues[queue].uring
                if uring:
                    uring.enter()
                if uring and uring.ready and reason == reasons.BUDGET:
                    uring.kick()        # another visit, which has a budget of its own
                elif reason != reasons.RING_ASLEEP:
                    self._serve(self.queues[queue])

    def patience_s(self, queue: UserQueue) -> float | None:
        """How long to wait for what is in flight before it is cancelled; None: it is not."""
        return 0 if self.receives(queue.index) else None

    def _settle(self, queue: UserQueue) -> None:
        """Wait for what is in flight, however long that takes, and deal with it.  Userspace holds the queue.
        May raise BrokenQueue."""
        uring, patience, started = queue.uring, self.patience_s(queue), monotonic()
        self._collect(queue)
        while uring and uring.outstanding:
            if patience is not None and monotonic() >= started + patience:
                uring.cancel()
            uring.wait(None if patience is None else CANCEL_S)
            self._collect(queue)

    def _collect(self, queue: UserQueue) -> None:
        """Deal with what came back from the ring, and count it.  May raise BrokenQueue."""
        uring = queue.uring
        if uring is None or not uring.ready:
            return
        uring.enter()
        for tag, index, result in uring.completions():
            if not tag.kind:
                uring.release(index)
            elif (done := self.came_back(queue, tag, result)) is None:
                uring.keep(index)
            else:
                uring.release(index)
                self._count_done(queue, *done)
        for tag, index in self.to_redo(queue):
            moved = self.redo(queue, tag, uring.parts(tag, index))
            uring.release(index)
            self._count_done(queue, 1, moved)

    @staticmethod
    def _count_done(queue: UserQueue, requests: int, moved: int) -> None:
        """Userspace has completed so many requests, of so many bytes."""
        if requests:
            count(queue.state.user, requests, moved)

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
            uring.cancel()          # which misses what the ring's own thread has yet to take
            uring.wait(CANCEL_S)
            for _, index, _ in uring.completions():
                uring.release(index)
        for _, index in list(uring.failed()):
            uring.release(index)
        uring.looks.polling = 0        # of that driver; the next one's rings ask for doorbells
        uring.forget_receive_buffers()
