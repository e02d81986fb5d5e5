"""A device as the machine sees it: register pages, memory, shared state, an interrupt line, and
what the Python half does when the guest writes.

Derive from RegisterDevice, name the schema and the built handler, and define
`on_write_<register>(value)` for each register that userspace takes; of one of several, say in a
register file, `on_write_<file>_<register>(index, value)`.  A write that the
kernel half declined arrives by the same way as one that never was offloaded.  These are called with
`lock`, and unless the schema says lock=False with the device held: no handler of it is running.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..devmodel.device_layout import DeviceLayout, layout_device
from ..devmodel.exit_path import Action
from ..devmodel.register_layout import PlacedRegister, beside
from ..devmodel.schema import Access, Device, SchemaError, Takes
from ..devmodel.view import ffi, view_of
from ..devmodel.virtqueue import Side
from ..paths import BUILD
from ..sync._shared import lib
from ..sync.ownership import Lock, Ownership
from . import options as options_
from .accesses import Accesses
from .accessors import check_accessors
from .guestlog import GuestLog
from .place import Place, Routed
from .timers import Timer

log = logging.getLogger("splitvmm.trace")


# what a class of a user's own may not call anything else
FINAL = frozenset("line timer trace alone interrupt set_bits clear_bits ram routes page_routes cleared ownerships size "
                  "taker registers layout mode lock name place page state memory control latched failed access_log "
                  "handled_interrupt register_reader register_writer".split())


def _raise(error: BaseException) -> None:
    raise error


def _is_own(method: Any, function: Callable) -> bool:
    """Whether a device's method is RegisterDevice's, which nothing records and no class of a user's has overridden."""
    return getattr(method, "__func__", None) is function


class RegisterDevice:
    """Base of every device.  `schema` declares it; `handler` is the stem of its built objects
    in `handlers`, or "" if it has no kernel half.  `handlers` is the folder `build` beside the file of
    the class that names the handler, if that is not one of ours.

    `latched` has the registers that the doorbell being answered latches.  Keywords that follow the name
    are the device's own options, which its class declares (options.py)."""

    schema: type[Device]
    has_transport = False       # whose registers the page shows, in place of the schema's
    handler = ""
    handlers = BUILD
    queue_count = 0
    latched: Any = ()
    uring_queues = 0           # of them, queues that may do asynchronous I/O
    asynchronous = True         # whether they shall, where they can
    no_ring = ""                # why they do not
    doorbell_interrupts = False     # whether any claimed doorbell raises the interrupt on its way out

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises SchemaError for accessors that no access of the guest would ever reach."""
        super().__init_subclass__(**options)
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if file and "handler" in vars(cls) and "handlers" not in vars(cls) and not cls.__module__.startswith("vmm."):
            cls.handlers = Path(file).resolve().parent / "build"
        options_.check_declared(cls, {*FINAL, *dir(RegisterDevice)}, cls.has_transport)
        if not cls.__module__.startswith("vmm."):
            for name in FINAL & vars(cls).keys():
                raise SchemaError(f"{cls.__name__}.{name}", "a name that every device has for something of its own",
                                  "another one")
        if (schema := getattr(cls, "schema", None)) is not None and not (
                isinstance(schema, type) and issubclass(schema, Device)):
            raise SchemaError(f"{cls.__name__}.schema", repr(schema), "a class derived from Device")
        if not cls.has_transport and hasattr(cls, "schema"):
            check_accessors(cls, cls.schema)

    def __init__(self, name: str, **given: object):
        """Raises UserError for options that the device does not have."""
        self.name = name
        options_.take(self, given)
        self.access_log = GuestLog("splitvmm.device")   # of accesses alone, which a guest may make at leisure
        self.layout: DeviceLayout = layout_device(self.schema)
        self.mode = "off"           # off, host or on: where its doorbells go now
        self.lock = threading.RLock()   # userspace's own threads; taken before any hand-over
        self.place: Place = None    # type: ignore[assignment]   # until it is attached
        self.failed: Callable[[BaseException], None] = _raise   # told when a thread of the device's has ended

    # what is derived from the schema

    @property
    def registers(self) -> DeviceLayout:
        """The layout whose registers the page shows; a virtio device has its transport's."""
        return self.layout

    @property
    def ram(self) -> Any:
        """Guest memory: `ram.read(address, bytes)`, `ram.write(address, data)`.  Raise GuestAddressError for what is
        not all in it."""
        return self.place.memory

    @property
    def taker(self) -> object:
        """What has `on_write_<register>` and `on_read_<register>`."""
        return self

    def line(self, queue: int = 0) -> Any:
        """The interrupt line of a queue, if it has queues."""
        return self.place.lines[0]

    def attach(self, place: Place) -> None:
        """Take a place in a machine.  A device's own calls this first: then there are `page`, `state` and `memory`,
        zeroed but for reset values, and it fills in what its options say."""
        self.place = place
        self.page = view_of(self.registers.page)(place.page, place.keep)
        self.memory = self._memory_views()
        self.state = view_of(self.layout.state)(place.state, place.keep, self.holds_blocks)
        self.control = place.ownership(self.name, self.state.control.ownership, self.state.control.entry, self.lock)
        check_accessors(self.taker, self.registers.device)      # again, as an object may have its own
        self._accesses = Accesses(self)
        for register in self.registers.registers.values():
            self._accesses.put(register, register.reset)

    def _memory_views(self) -> SimpleNamespace:
        """Device memory as writable bytes, each under its name."""
        found = SimpleNamespace()
        for name, at in self.layout.memory_places().items():
            raw = ffi.gc(ffi.cast("char *", self.place.own_memory + at), lambda _, keep=self.place.keep: None)
            setattr(found, name, memoryview(ffi.buffer(raw, self.layout.memories[name].size)).cast("B"))
        return found

    @property
    def size(self) -> int:
        """Bytes of guest-physical memory that it takes: registers, then memory of its own."""
        return self.registers.window

    def holds_blocks(self) -> bool:
        """Whether userspace may write the HOLDER blocks of `state` now."""
        return self.control.held_by_user()

    def routes(self) -> list[Routed]:
        """What the exit path is to take while the device is offloaded."""
        return self.page_routes()

    def page_routes(self) -> list[Routed]:
        """Of the registers in the page, those that the exit path takes."""
        found = []
        for name, register in self.registers.registers.items():
            if register.takes is Takes.NOTIFY:
                found.append(self._route(register, Action.NOTIFY))
            elif register.takes is Takes.POSTED:
                cleared = self.cleared(name)
                found.append(self._route(register, Action.CLEAR, cleared.offset) if cleared else
                             self._route(register, Action.POSTED))
            if register.halves and register.takes is not Takes.USER:    # the lower half waits for the upper one
                found += [self._route_half(register, 0, Action.POSTED), self._route_half(register, 4, found[-1].action)]
        return found

    def _route(self, register: PlacedRegister, action: Action, target: int = 0) -> Routed:
        return Routed(self.place.at(register.offset), register.type.size, action,
                      register.offset, target, interrupts=register.interrupts)

    def _route_half(self, register: PlacedRegister, half: int, action: Action) -> Routed:
        return Routed(self.place.at(register.offset + half), 4, action, register.offset + half,
                      interrupts=register.interrupts and half == 4)

    def cleared(self, name: str) -> PlacedRegister | None:
        """The register whose bits a posted write of `name` clears, if that is what it does."""
        register = self.registers.registers[name]
        if register.clears:
            return self.registers.registers[beside(name, register.clears)]
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
        if offset >= self.registers.register_bytes:
            return int.from_bytes(self._own_memory(offset, width), "little")
        return self._accesses.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """A write by the guest, whether the exit path declined it or never saw it."""
        if offset < self.registers.register_bytes:
            self._accesses.write(offset, width, value)
        elif found := self._own_memory(offset, width):
            found[:] = value.to_bytes(width, "little")
        else:
            self.write_undeclared(offset, width, value)

    def register_reader(self, offset: int, width: int) -> Callable[[], int] | None:
        """What does each read of a whole register, as `read` would; None where there is none."""
        return self._accesses.whole_reads.get((offset, width)) if _is_own(self.read, RegisterDevice.read) else None

    def register_writer(self, offset: int, width: int) -> Callable[[int], None] | None:
        """Likewise of writes."""
        return self._accesses.whole_writes.get((offset, width)) if _is_own(self.write, RegisterDevice.write) else None

    def _own_memory(self, offset: int, width: int) -> Any:
        """Bytes of device memory, which a guest with vCPUs reaches without us; nothing if there is none there."""
        for name, item in self.layout.memories.items():
            if item.offset <= offset and offset + width <= item.offset + item.size:
                return getattr(self.memory, name)[offset - item.offset:offset - item.offset + width]
        return b""

    def write_undeclared(self, offset: int, width: int, value: int) -> None:
        """A write of no register has no effect."""
        self.access_log.once(("write", offset, width), "%s: a write of %d bytes at %#x, where there is no register",
                             self.name, width, offset)

    def trace(self, format_: str, *values: object) -> None:
        """Say what the device does, to whoever listens (`splitvmm run -v`), as trace() does in a handler: a format
        of C, and its values."""
        if log.isEnabledFor(logging.INFO):
            try:
                text = re.sub(r"(%[-+ #0-9.]*)(?:hh|h|ll|l)", r"\1", format_) % values
            except (TypeError, ValueError) as error:    # whoever listens changes nothing
                text = f"{format_!r} of {values!r}: {error}"
            log.info("%s (Python): %s", self.name, text)

    def set_bits(self, register: str, bits: int) -> int:
        """Set bits of a register of 4 bytes (`"pending"`, `"channel[2].pending"`) by one atomic; what was there before.
        The only way to change a register whose bits a posted write of the guest's clears: that one is done whoever
        holds the device."""
        return lib.fetch_or32(self._word(register), bits)

    def clear_bits(self, register: str, bits: int) -> int:
        """Clear them likewise."""
        return lib.fetch_and32(self._word(register), ~bits & 0xffffffff)

    def _word(self, name: str) -> int:
        register = self.registers.registers.get(name)
        if register is None or register.type.size != 4:
            raise KeyError(f"{self.name}: no register {name} of 4 bytes")
        return self.place.page + register.offset

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A timer that calls `callback` with the device held, as an `on_write_` is."""
        return Timer(self, callback)

    def alone(self) -> Lock:
        """What `with` holds the device: no handler is inside, nor any other thread's `on_write_`."""
        return self.control if self.layout.locked else self.lock

    def interrupt(self) -> None:
        """Raise the device's line: an edge, which says no more than that the driver shall look."""
        self.line().pulse()

    def handled_interrupt(self, offset: int) -> None:
        """The kernel half is done with a write of the register at `offset`, and wants the line raised."""
        if not self._accesses.interrupts(offset):       # that is raised already, as every write of it
            self.interrupt()

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
        """Use the rings no more; userspace has taken over all that was in flight."""

    def upcalled(self, queue: int, reason: int) -> None:
        """The kernel half asks userspace to look at a queue; `reason` as in a decline."""

    def close(self) -> None:
        """Let go of what the device holds outside its memory: files, threads, programs that it started.  In these
        SIGINT, SIGTERM, SIGHUP and SIGWINCH are blocked (signal.pthread_sigmask), as `splitvmm run` has a thread for
        them."""
