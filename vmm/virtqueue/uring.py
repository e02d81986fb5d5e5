"""One queue's asynchronous I/O, user side: making the ring, waking it, and taking over what
is in flight.  The counterpart of kernel_devices/uring.h."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from time import monotonic, sleep
from typing import NamedTuple

from ..devmodel.layout import PAGE, layout_block
from ..devmodel.uring import (
    COMPLETIONS,
    ENTRIES,
    NOP,
    RECEIVE_BUFFERS,
    SEGMENTS,
    TAGS,
    Raises,
    Sqe,
    TagState,
    uring_layout,
)
from ..devmodel.view import ffi, view_of
from ..errors import UserError
from ..sync._shared import lib
from .ring import Chain

log = logging.getLogger("splitvmm.uring")

NEED_WAKEUP = 1         # IORING_SQ_NEED_WAKEUP
FIXED_FILE = 1          # IOSQE_FIXED_FILE
SLOW_S = 10             # seconds after which it is said what is waited for
IDLE_MS = 2             # the polling thread sleeps after so long without work
_CQE = struct.Struct("<QiI")
_LISTS = uring_layout().field("iovecs").offset
_SQE_FIELDS = [f.name for f in layout_block(Sqe).fields if not f.reserved]


class UringUnavailable(UserError):
    """There is no io_uring as the ring needs it; says why."""


def _binding():
    try:
        from . import _uring
    except ImportError as error:
        raise UringUnavailable(f"vmm/virtqueue/_uring: {error}; wanted `make setup` to have built it") from None
    return _uring.ffi, _uring.lib


def _why(error: int, doing: str) -> UringUnavailable:
    import errno
    hint = {errno.EINVAL: "Linux 6.5 or later", errno.ENOSYS: "a kernel with io_uring",
            errno.EPERM: "/proc/sys/kernel/io_uring_disabled to be 0",
            errno.ENOMEM: "a higher limit of locked memory (ulimit -l)"}.get(error, "it to work")
    return UringUnavailable(f"io_uring, {doing}: {os.strerror(error)}; wanted {hint}")


class Poll(NamedTuple):
    """How a busy queue is polled: until nothing has come for so long, which is never if that is 0; `always`, or while
    it is worth while."""

    idle_us: int
    always: bool


NEVER = Poll(0, False)


class Uring:
    """One ring in shared memory, and its requests in flight.

    Used under the device's lock; what belongs to the holder of the queue only while userspace
    holds it.  `address` is that of `uring_layout()` in this process.
    """

    def __init__(self, name: str, address: int, ram: int, held):
        self.name, self.address, self.fd = name, address, -1
        self.state = view_of(uring_layout())(address, None, held)
        self.wiring, self.flight, self.looks, self.receive = (
            self.state.wiring, self.state.flight, self.state.looks, self.state.receive)
        self._tags = self.flight.tag
        self.ram = ram
        self._words: list = []
        self._rings: dict[bool, tuple] = {}     # polled -> (descriptor, places)

    # the ring

    def start(self, files: list[int], completion_fd: int, polled: bool, attach: int = -1,
              raises: Raises = Raises.NONE, lazy_notify: bool = False, poll: Poll = NEVER) -> None:
        """Make the ring: `files` are what it does I/O on, and the eventfd that raises the device's
        interrupt; `completion_fd` is signalled when requests come back.  With `polled` the kernel's
        thread takes submissions, that of the ring `attach` if there is one already; `lazy_notify` is for
        requests that it does at once; `poll` is how a busy queue is looked at.  Raises UringUnavailable."""
        uring, lib = _binding()
        if polled not in self._rings:
            self._rings[polled] = self._setup(uring, lib, polled, attach)
        fd, places = self._rings[polled]
        if error := lib.ring_register(fd, files, len(files), completion_fd):
            raise _why(-error, "registering files")
        wiring, base = self.wiring, self._base(polled)
        wiring.address, wiring.ram, wiring.one, wiring.ring_fd = self.address, self.ram, 1, fd
        for name in ("sq_head", "sq_tail", "sq_flags", "cq_head", "cq_tail", "cqes"):
            setattr(wiring, name, getattr(places, name))
        self._words = [ffi.cast("volatile uint32_t *", base + getattr(places, name))
                       for name in ("sq_head", "sq_tail", "sq_flags", "cq_head", "cq_tail")]
        self._cqes = base + places.cqes
        self._forget()
        wiring.completion_fd = completion_fd
        wiring.lazy_notify = int(lazy_notify and polled)
        wiring.poll_ns, wiring.poll_always = 1000 * poll.idle_us * polled, int(poll.always)
        wiring.polled, wiring.raises, wiring.ready = int(polled), int(raises), 1
        # ours: the caller closes its own before we have stopped
        self.fd, self._completion_fd = fd, os.dup(completion_fd)

    def _base(self, polled: bool) -> int:
        return self.address + 2 * PAGE * polled

    def _setup(self, uring, lib, polled: bool, attach: int):
        """A ring once made is kept: closing it ends it later, and until then the kernel writes to
        its memory."""
        base, places = self._base(polled), uring.new("struct ring_places *")
        ffi.memmove(ffi.cast("char *", base), bytes(2 * PAGE), 2 * PAGE)
        fd = lib.ring_setup(ENTRIES, base, base + PAGE, IDLE_MS if polled else 0,
                            attach if polled else -1, places)
        if fd < 0:
            raise _why(-fd, "setup")
        if places.sq_entries != ENTRIES or places.cq_entries != COMPLETIONS or places.cqes > 1024:
            os.close(fd)
            raise UringUnavailable(f"io_uring: rings of {places.sq_entries} and {places.cq_entries} entries; "
                                    f"wanted {ENTRIES} and {COMPLETIONS}")
        return fd, places

    def _forget(self) -> None:
        """Nothing is with the kernel; userspace holds the queue."""
        flight = self.flight
        self._words[3][0] = self._words[4][0]
        flight.tail = self._words[1][0]
        flight.window, flight.kicks_seen, flight.nop = 0, self.wiring.kicks, 0
        self.looks.polling = flight.bells = flight.rest_ns = flight.rested_ns = 0
        self.flight.free = 0
        for i in range(TAGS):       # those that are kept stay so
            if self._tags[i].state != TagState.FAILED:
                self.release(i)

    @property
    def ready(self) -> bool:
        return self.fd >= 0

    def enter(self) -> None:
        """Have the kernel look at what was submitted, if that takes a system call."""
        if not self.ready:
            return
        head, tail, flags = self._words[0][0], self._words[1][0], self._words[2][0]
        if head == tail:
            return
        if not self.wiring.polled:
            _binding()[1].ring_enter(self.fd, tail - head & 0xffffffff, 0)
        elif flags & NEED_WAKEUP:
            _binding()[1].ring_enter(self.fd, 0, 1)

    # what comes back

    @property
    def pending(self) -> bool:
        """Whether completions wait."""
        return self.ready and self._words[3][0] != self._words[4][0]

    @property
    def flying(self) -> int:
        """Requests in flight, those that failed included."""
        return TAGS - self.flight.free if self._words else 0

    @property
    def outstanding(self) -> int:
        """Requests that the kernel has."""
        return self.flying - self.flight.failed if self.ready else 0

    def completions(self) -> Iterator[tuple]:
        """Take what came back: (tag's view, its number, result) of each request in flight.  The
        caller releases the tag."""
        while self.pending:
            head = self._words[3][0]
            at = self._cqes + 16 * (head % COMPLETIONS)
            data, result, _ = _CQE.unpack(bytes(ffi.buffer(ffi.cast("char *", at), 16)))
            self._words[3][0] = head + 1 & 0xffffffff
            index, serial = data & 0xffffffff, data >> 32
            if index == NOP:
                self.flight.nop = 0
            if index < TAGS:
                tag = self._tags[index]
                if tag.state == TagState.FLYING and tag.serial == serial:
                    yield from self._run(tag, index, result)

    def _run(self, tag, index: int, result: int) -> Iterator[tuple]:
        """The requests that came back as one: one alone, or a run, each of which is done again if it is not whole."""
        run = tag.run
        while index >= 0:
            tag = self._tags[index]
            following = tag.next - 1
            self.flight.completed += 1
            yield tag, index, result if not run else tag.wanted if result == run else -1
            index = following

    def failed(self) -> Iterator[tuple]:
        """(tag's view, its number) of requests that came back with an error; to be released."""
        if self.flight.failed:
            for index in range(TAGS):
                if self._tags[index].state == TagState.FAILED:
                    yield self._tags[index], index

    def parts(self, tag, index: int) -> list[tuple[int, int]]:
        """The data buffers of a request in flight: (offset into RAM, length)."""
        lists = self.state.iovecs.iovec
        return [(b.base - self.ram, b.length) for b in lists[index * SEGMENTS:index * SEGMENTS + tag.buffers]]

    # receive buffers

    def receive_chains(self) -> Iterator[Chain]:
        """The buffers that packets are to be put into, each a chain."""
        receive = self.receive
        for n in range(receive.first, receive.first + (receive.end - receive.first & 0xffffffff)):
            at = n % RECEIVE_BUFFERS
            part = receive.iovec[at]
            yield Chain(receive.head[at], [], [(part.base - self.ram, part.length)], receive.slots[at])

    def use_receive_buffers(self, count: int) -> None:
        """The first `count` of them are used."""
        receive = self.receive
        for _ in range(count):
            receive.bytes -= receive.iovec[receive.first % RECEIVE_BUFFERS].length
            receive.first = receive.first + 1 & 0xffffffff

    def forget_receive_buffers(self) -> None:
        self.receive.first = self.receive.end = self.receive.bytes = 0

    def release(self, index: int) -> None:
        flight, tag = self.flight, self._tags[index]
        if tag.state == TagState.FAILED:
            flight.failed -= 1
        tag.state = TagState.FREE
        flight.stack[flight.free] = index
        flight.free += 1

    def keep(self, index: int) -> None:
        """A request that came back undone, and is not done with."""
        self._tags[index].state = TagState.FAILED
        self.flight.failed += 1

    def resubmit(self, opcode: int) -> None:
        """Give the kernel again what was kept: requests with a list of buffers each."""
        kept = list(self.failed())
        if not kept:
            return          # nor may the tail be written to: the kernel half may be at it
        for tag, index in kept:
            tail = self.flight.tail
            if tail - self._words[0][0] & 0xffffffff >= ENTRIES - 2:
                break           # what is kept now stays kept
            sqe = self.state.rings[int(self.wiring.polled)].sqe[tail % ENTRIES]
            for name, value in {**dict.fromkeys(_SQE_FIELDS, 0), "opcode": opcode, "flags": FIXED_FILE,
                                "off": 0xffffffffffffffff, "len": tag.buffers,
                                "addr": self.address + _LISTS + index * SEGMENTS * 16}.items():
                setattr(sqe, name, value)
            tag.serial = tag.serial + 1 & 0xffffffff
            sqe.user_data = index | tag.serial << 32
            tag.state = TagState.FLYING
            self.flight.failed -= 1
            self.flight.tail = tail + 1 & 0xffffffff
        lib.full_barrier()
        self._words[1][0] = self.flight.tail
        lib.full_barrier()      # the tail is out before the flag is read; partner: io_sq_thread
        self.enter()

    def kick(self) -> None:
        """Have the kernel half look at the queue, which it holds."""
        if self.ready:
            self.wiring.kicks = self.wiring.kicks + 1 & 0xffffffff
            os.eventfd_write(self._completion_fd, 1)

    def wait(self, timeout_s: float | None = None) -> None:
        """Until something came back, nothing is in flight, or that time is over.  Without a time it is as
        long as the host takes: memory that it may still write to cannot be taken back."""
        started, said = monotonic(), False
        while not self.pending and self.outstanding:
            self.enter()
            waited = monotonic() - started
            if timeout_s is not None and waited > timeout_s:
                return
            if waited > SLOW_S and not said:
                log.warning("%s: %d requests in flight for %d s; waiting for them", self.name, self.outstanding, waited)
                said = True
            sleep(0.0002)

    def cancel(self) -> None:
        """Cancel what can be; it comes back as any other does."""
        if self.ready:
            self.enter()
            _binding()[1].ring_cancel(self.fd)

    def stop(self) -> None:
        """Use the ring no more; nothing is in flight."""
        if self.fd >= 0:
            self.wiring.ready = 0
            os.close(self._completion_fd)
            _binding()[1].ring_unregister(self.fd)
            self.fd = -1

    def close(self) -> None:
        self.stop()
        for fd, _ in self._rings.values():
            os.close(fd)
        self._rings.clear()


def why_not() -> str:
    """Why there is no ring to be had here, or ""; asked of the kernel."""
    from ..devmodel.uring import STRIDE
    from ..sync.region import Region
    region, fd = Region.anonymous("try", STRIDE), os.eventfd(0, os.EFD_CLOEXEC)
    uring = Uring("try", region.address, 0, lambda: True)
    try:
        uring.start([fd], fd, True)
    except UringUnavailable as error:
        return str(error)
    finally:
        uring.close()
        region.close()
        os.close(fd)
    return ""
