"""A device as the machine sees it: a register page, shared state, an interrupt line, and
what the Python half does when the guest writes.

Derive from RegisterDevice, name the schema and the built handler, and define
`on_write_<register>(value)` for each register that userspace takes.  A write that the
kernel half declined arrives by the same way as one that never was offloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..devmodel.device_layout import DeviceLayout, layout_device
from ..devmodel.exit_path import Action, Bus
from ..devmodel.layout import PAGE
from ..devmodel.schema import Access, Register, Takes
from ..devmodel.view import ffi, view_of
from ..devmodel.virtqueue import Side
from ..paths import BUILD
from ..sync._shared import lib
from ..sync.ownership import Ownership


@dataclass
class Place:
    """Where a device is put, by the machine."""

    slot: int                   # its page, and its program on the exit path
    bus: Bus
    base: int | None            # guest-physical address or port; None while the guest has it nowhere
    page: int                   # address of the register page in this process
    page_fd: int                # of the map that it lies in, or -1
    state: int                  # address of the shared state
    state_fd: int
    lines: list                 # interrupts.Line: one, or one a queue and one for all else
    memory: object              # GuestMemory
    urings: int = 0            # address of its queues' io_urings, or 0
    urings_fd: int = -1        # of the map that they lie in, or -1
    keep: tuple = ()            # what must live as long as the device


@dataclass(frozen=True)
class Routed:
    """A write that the kernel half takes."""

    address: int
    width: int
    action: Action
    offset: int
    target: int = 0
    queue: int = 0              # whose doorbell it is, if that matters


def _raise(error: BaseException) -> None:
    raise error


class RegisterDevice:
    """Base of every device.  `schema` declares it; `handler` is the stem of its built objects
    in `handlers`, or "" if it has no kernel half."""

    schema: type
    handler = ""
    handlers = BUILD
    size = PAGE
    queue_count = 0
    uring_queues = 0           # of them, queues that may do asynchronous I/O
    asynchronous = True         # whether they shall, where they can
    no_ring = ""                # why they do not
    doorbell_interrupts = True  # whether a claimed doorbell raises the interrupt on its way out

    def __init__(self, name: str):
        self.name = name
        self.layout: DeviceLayout = layout_device(self.schema)
        self.mode = "off"           # off, host or on: where its doorbells go now
        self.lock = threading.RLock()   # userspace's own threads; taken before any hand-over
        self.place: Place | None = None
        self.failed: Callable[[BaseException], None] = _raise   # told when a thread of the device's has ended

    # what is derived from the schema

    @property
    def registers(self) -> DeviceLayout:
        """The layout whose registers the page shows; a virtio device has its transport's."""
        return self.layout

    @property
    def taker(self):
        """What has `on_write_<register>` and `on_read_<register>`."""
        return self

    def line(self, queue: int = 0):
        """The interrupt line of a queue, if it has queues."""
        return self.place.lines[0]

    def attach(self, place: Place) -> None:
        """Take a place in a machine; the page and state are zeroed memory."""
        self.place = place
        for line in place.lines:
            line.slot = place.slot
        registers = self.registers.registers
        self.page = view_of(self.registers.page)(place.page, place.keep)
        self.state = view_of(self.layout.state)(place.state, place.keep)
        self.control = Ownership(self.name, self.state.control.ownership, self.state.control.entry)
        self._by_place = {(r.offset, r.type.size): (name, r) for name, r in registers.items()}
        self._writers = {name: self._writer(name, r) for name, r in registers.items()}
        for name, register in registers.items():
            setattr(self.page, name, register.reset)

    def _writer(self, name: str, register: Register):
        handler = getattr(self.taker, f"on_write_{name}", None)
        if handler is not None or register.access is Access.RO:
            return handler
        if register.takes is Takes.USER and register.access is Access.W1C:
            return lambda value: setattr(self.page, name, getattr(self.page, name) & ~value)
        if register.takes is Takes.USER and register.access is Access.RW:
            return lambda value: setattr(self.page, name, value)
        return None

    def routes(self) -> list[Routed]:
        """What the exit path is to take while the device is offloaded."""
        return self.page_routes()

    def page_routes(self) -> list[Routed]:
        """Of the registers in the page, those that the exit path takes."""
        found = []
        for register in self.registers.registers.values():
            if register.takes is Takes.NOTIFY:
                found.append(self._route(register, Action.NOTIFY))
            elif register.takes is Takes.POSTED:
                cleared = self._cleared(register)
                found.append(self._route(register, Action.CLEAR, cleared.offset) if cleared else
                             self._route(register, Action.POSTED))
        return found

    def _route(self, register: Register, action: Action, target: int = 0) -> Routed:
        return Routed(self.place.base + register.offset, register.type.size, action,
                      register.offset, target)

    def _cleared(self, register: Register) -> Register | None:
        """The register whose bits a posted write clears, if that is what it does."""
        if register.clears:
            return self.registers.registers[register.clears]
        return register if register.access is Access.W1C else None

    def ownerships(self) -> list[Ownership]:
        """Everything that changes hands when the device is offloaded or taken back."""
        return [self.control]

    def assign(self, side: Side) -> None:
        """Move the device to one side.  The vCPUs stand still."""
        with self.lock:
            for ownership in self.ownerships():
                ownership.assign(side)

    # the guest's accesses

    def read(self, offset: int, width: int) -> int:
        """A read that left the guest: only of pages that are no guest memory."""
        found = self._by_place.get((offset, width))
        if found and found[1].access is not Access.WO:
            reader = getattr(self.taker, f"on_read_{found[0]}", None)
            return reader() if reader else getattr(self.page, found[0])
        return self.read_undeclared(offset, width)

    def read_undeclared(self, offset: int, width: int) -> int:
        """A read of no register, or of a part of one: the bytes of the page."""
        at = self.place.page + offset
        return int.from_bytes(bytes(self._bytes(at, width)), "little")

    @staticmethod
    def _bytes(address: int, count: int):
        return ffi.buffer(ffi.cast("char *", address), count)

    def write(self, offset: int, width: int, value: int) -> None:
        """A write by the guest, whether the exit path declined it or never saw it."""
        found = self._by_place.get((offset, width))
        if found is None:
            self.write_undeclared(offset, width, value)
            return
        name, register = found
        writer = self._writers[name]
        if writer is not None:
            with self.lock:
                writer(value)
        elif register.takes is Takes.POSTED:
            self._post(name, register, value)
        # else read-only, or nothing to do: the guest's write has no effect

    def write_undeclared(self, offset: int, width: int, value: int) -> None:
        """A write of no register has no effect."""

    def _post(self, name: str, register: Register, value: int) -> None:
        cleared = self._cleared(register)
        if cleared:
            lib.fetch_and32(self.place.page + cleared.offset, ~value & 0xffffffff)
        else:
            setattr(self.page, name, value)

    # asynchronous I/O, for devices that have it

    def start_urings(self, eventfds: Callable[[int], tuple[int, int]], polled: bool, raises: bool,
                      attach: int = -1) -> None:
        """Make the rings for one offload mode.  `eventfds(queue)` tells what a queue's ring signals when
        something comes back, and what raises its interrupt; `attach` is a ring to share a polling
        thread with, or -1."""

    def ring(self) -> int:
        """Descriptor of one of its rings, or -1."""
        return -1

    def poll_completions(self) -> None:
        """Collect completions that nobody else did."""

    def stop_urings(self) -> None:
        """Close the rings; userspace has taken over all that was in flight."""

    def upcalled(self, queue: int, reason: int) -> None:
        """The kernel half asks userspace to look at a queue; `reason` as in a decline."""

    def close(self) -> None:
        """Let go of what the device holds outside its memory."""
