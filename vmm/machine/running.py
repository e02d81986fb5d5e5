"""A machine's vCPU threads: started, paused, ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from time import monotonic

from ..kvm.vcpu import VcpuThread

PAUSE_S = 10.0      # for all vCPUs to come out of KVM_RUN
KICK_S = 0.05       # between signals to vCPUs that have yet to notice that they should end


class Running:
    """The threads of one machine.  `stop`, `failed` and `paused` are for any thread but those told
    otherwise; the first status and the first error count.

    Whether vCPUs run is known by our own count: in CPython 3.11 an exception out of Thread.join()
    (a signal handler's, say) marks a running thread as stopped.
    """

    def __init__(self):
        self.threads: list[VcpuThread] = []
        self.status: int | None = None
        self.error: BaseException | None = None
        self.stopped = False
        self.on_abort: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._pauses, self._parked, self._running = 0, 0, 0

    def start(self, vcpus: list, host, kind: type = VcpuThread) -> None:
        """`host` is as VcpuThread has it; `kind` of threads there are."""
        self.threads = [kind(vcpu, host, self) for vcpu in vcpus]
        for thread in self.threads:
            with self._changed:
                self._running += 1
            try:
                thread.start()
            except BaseException:
                if thread.ident is None:    # else it runs, and ends by itself
                    self.ended()
                raise

    # on a vCPU's thread

    def checkpoint(self) -> bool:
        """Where vCPUs wait while the machine is paused; False when it has stopped."""
        if self._pauses and not self.stopped:
            with self._changed:
                self._parked += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._pauses or self.stopped)
                self._parked -= 1
                self._changed.notify_all()
        return not self.stopped

    def ended(self) -> None:
        """The thread is through; nobody waits for it any more."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    # on any thread

    def failed(self, error: BaseException) -> None:
        """Something that the guest cannot go on without has failed."""
        with self._changed:
            self.error = self.error or error
        self.stop(1)

    def stop(self, status: int) -> None:
        """End the guest with this exit status."""
        with self._changed:
            if self.status is None:
                self.status = status
            self.stopped = True
            self._kick()
            self._changed.notify_all()

    def abort(self, status: int) -> None:
        """`stop`, and nobody is patient any more: `on_abort` is called."""
        self.stop(status)
        for call in self.on_abort:
            call()

    def _kick(self) -> None:
        """Have every vCPU come to the checkpoint: this thread's own as well, which an emulator may be running."""
        for thread in self.threads:
            if thread.thread and not thread.through:
                thread.leave()

    def kick(self, index: int) -> None:
        """Have one vCPU come out of KVM_RUN."""
        thread = self.threads[index]
        if thread.thread and not thread.through:
            thread.kick()

    @contextmanager
    def paused(self, timeout_s: float = PAUSE_S):
        """All vCPUs outside KVM_RUN and waiting, for the block; not on a vCPU's thread."""
        with self._changed:
            self._pauses += 1
            self._kick()
            if not self._changed.wait_for(lambda: self._parked == self._running, timeout_s):
                self._pauses -= 1
                self._changed.notify_all()
                raise RuntimeError(f"{self._running - self._parked} vCPUs did not pause in {timeout_s} s")
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()      # and they go on, before anybody pauses them again
                self._changed.wait_for(lambda: self._pauses or self.stopped or not self._parked, timeout_s)

    def wait(self, timeout_s: float | None = None) -> int:
        """Until the guest has ended: its exit status.  Raises TimeoutError, or what ended it otherwise."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        with self._changed:
            while self._running:
                left = KICK_S if self.stopped else None
                if deadline is not None:
                    left = min(left or timeout_s, deadline - monotonic())
                    if left <= 0:
                        raise TimeoutError(f"the guest still runs after {timeout_s} s")
                self._changed.wait(left)
                if self.stopped:
                    self._kick()
        if self.error:
            raise self.error
        return self.status or 0

    def end(self) -> None:
        """Stop the vCPUs, and wait until none runs."""
        if not self.threads:
            return
        self.stop(1)
        with self._changed:
            while self._running:
                self._kick()
                self._changed.wait(KICK_S)
