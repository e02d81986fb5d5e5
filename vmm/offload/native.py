"""`host`: the same handlers as shared objects, asked by the vCPU loop about every write that leaves
KVM_RUN.  A backend as bpf_backend.py has it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from _cffi_backend import load_library

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Bus, Verdict
from ..devmodel.exit_path import Declined as DeclinedBlock
from ..devmodel.layout import PAGE, layout_block
from ..devmodel.uring import Raises
from ..devmodel.view import address_of, ffi, struct_of
from ..kvm.memory import GuestMemory
from ..paths import BUILD
from ..sync.event_ring import EventRing
from ..sync.handoff import Declined
from .objects import OffloadError, check_abi, check_hash, route_bytes
from .tracing import Tracing

SYMBOLS = {
    "exit_path_new": "void *(*)(void *events)",
    "exit_path_free": "void (*)(void *path)",
    "exit_path_add": "int (*)(void *path, const void *key, const void *route, void *page, void *notify, void *device, "
                     "int32_t line)",
    "exit_path_remove": "void (*)(void *path, const void *key)",
    "exit_path_write": "int (*)(void *path, uint32_t bus, uint64_t address, uint32_t width, uint64_t value, "
                       "int32_t *line)",
    "exit_path_assist_by": "void (*)(void *path, uint32_t slot, void *assist, void *device)",
    "exit_path_assist": "int (*)(void *path, const void *declined, int32_t *line)",
    "exit_path_assist_next": "int (*)(void *path, const void *ring, uint32_t next, int32_t *line)",
    "device_assist": "int (*)(void *device, const void *declined, int32_t *line)",
    "device_new": "void *(*)(void *state, void *page, void *memory_of_device, void *ram, void *urings, "
                  "uint32_t uring_count, uint32_t slot, int32_t tracing_fd, void *events, const void *memory, "
                  "const int32_t *lines, uint32_t line_count)",
    "device_collect": "int (*)(void *device, int eventfd, int vm_fd, uint32_t *upcalls, uint32_t *interrupts)",
    "device_free": "void (*)(void *device)",
    "device_notify": "int (*)(void *device, const void *access, uint32_t *reason)",
}


class Library:
    """A shared object, loaded by its path; its functions are attributes.

    This is what cffi's ABI mode comes to.  FFI.cdef() would have Python parse the declarations, by a parser whose
    import alone takes a third of the time in which a guest has to run.
    """

    def __init__(self, path: Path):
        """Raises OSError."""
        self._library = load_library(str(path), os.RTLD_NOW)

    def __getattr__(self, name: str):
        if name not in SYMBOLS:
            raise AttributeError(name)
        found = self._library.load_function(ffi.typeof(SYMBOLS[name]), name)
        setattr(self, name, found)
        return found

    @property
    def layout_hash(self) -> int:
        """Raises KeyError if it has none."""
        return self._library.read_variable(ffi.typeof("uint64_t"), "layout_hash")


class Collector:
    """`host`: a thread that completes what comes back from the rings of one device."""

    STOP = 1 << 31      # added to the eventfd

    def __init__(self, library, handle, device: RegisterDevice, vm):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._library, self._handle, self._device = library, handle, device
        self._vm_fd = vm.fd if vm else -1
        self._upcalls, self._interrupts = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        self._stopping, self._thread = False, None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"{self._device.name} ring")
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._collect()
        except BaseException as error:      # else completions would wait for ever, and nobody know why
            self._device.failed(error)

    def _collect(self) -> None:
        error = self._library.device_collect(self._handle, self.fd, self._vm_fd, self._upcalls, self._interrupts)
        if error:
            raise OSError(-error, f"{self._device.name}: completions: {os.strerror(-error)}")
        for queue in range(self._device.uring_queues):
            if self._upcalls[0] >> queue & 1 and not self._stopping:
                self._device.upcalled(queue, 0)
            if self._interrupts[0] >> queue & 1:
                self._device.line(queue).pulse()

    def close(self) -> None:
        self._stopping = True
        if self._thread:
            os.eventfd_write(self.fd, self.STOP)
            self._thread.join()
        os.close(self.fd)


class HostBackend:
    """`host`: the native dispatcher, asked by the vCPU loop about every write that leaves KVM_RUN."""

    def __init__(self, memory: GuestMemory, vm, tracing: Tracing | None = None, events: EventRing | None = None):
        """Handlers put what they do into `events`."""
        self.ffi, self.memory, self.vm, self._tracing = ffi, memory, vm, tracing
        self._events = self._pointer(events.address if events else 0)
        path = BUILD / "exit_path.so"
        if not path.exists():
            raise OffloadError(f"{path} is missing; wanted `make` to have built it")
        self.lib = Library(path)
        self.path = self.lib.exit_path_new(self._events)
        self.hook = int(self.ffi.cast("uintptr_t", self.lib.exit_path_write))
        self.assist_hook = int(self.ffi.cast("uintptr_t", self.lib.exit_path_assist_next))
        self.context = int(self.ffi.cast("uintptr_t", self.path))
        self._pack = struct_of(layout_block(DeclinedBlock)).pack
        self._devices: dict[int, tuple] = {}
        self._collectors: dict[int, Collector] = {}
        self._line = self.ffi.new("int32_t *")
        self._routed: dict[int, list[bytes]] = {}       # slot -> keys of its routes
        self._assisting = threading.Lock()      # of threads that are no vCPU's, and do not stand still with them

    def load(self, device: RegisterDevice) -> None:
        if not device.handler or device.place.slot in self._devices:
            return
        path = device.handlers / f"{device.handler}.so"
        check_abi(path, device.layout)
        try:
            library = Library(path)
            check_hash(path, device.layout, library.layout_hash)
        except (OSError, KeyError, AttributeError) as error:    # cffi's KeyError: no such symbol
            raise OffloadError(f"{path}: {error.args[-1]}; wanted a shared object with a DEVICE_HANDLER") from None
        layout, _raw = self.memory.layout()
        lines = [device.line(queue).number for queue in range(device.queue_count)]
        place = device.place
        handle = library.device_new(self._pointer(place.state), self._pointer(place.page),
                                    self._pointer(place.own_memory), self._pointer(self.memory.address),
                                    self._pointer(place.urings), device.uring_queues, place.slot,
                                    self._tracing.native_fd if self._tracing else -1, self._events,
                                    self._pointer(address_of(layout)), lines, len(lines))
        self._devices[device.place.slot] = (library, handle)

    def _pointer(self, address: int):
        return self.ffi.cast("void *", address)

    def enable(self, device: RegisterDevice) -> None:
        self._routed[device.place.slot] = []
        library, handle = self._devices.get(device.place.slot, (None, None))
        self.connect(device)
        if device.uring_queues and library:
            collector = self._collectors[device.place.slot] = Collector(library, handle, device, self.vm)
            device.start_urings(lambda _queue: (collector.fd, collector.fd), False, Raises.NONE)
            if device.ring() >= 0:
                collector.start()

    def connect(self, device: RegisterDevice) -> None:
        """Take the device's writes, where its registers are now."""
        library, handle = self._devices.get(device.place.slot, (None, self.ffi.NULL))
        notify = library.device_notify if library else self.ffi.NULL
        for route in device.routes():
            key, value = route_bytes(device, route)
            page = self._pointer(device.place.page + PAGE * route.page)
            if self.lib.exit_path_add(self.path, key, value, page, notify, handle, device.line(route.queue).number):
                raise OffloadError(f"{device.name}: no room for its routes")
            self._routed[device.place.slot].append(key)

    def reconnect(self, device: RegisterDevice) -> None:
        """Take the writes of a device that is the kernel half's, as far as they come here."""
        self._routed[device.place.slot] = []
        self.connect(device)

    def disconnect(self, device: RegisterDevice) -> None:
        """Take them no longer."""
        while keys := self._routed[device.place.slot]:
            self.lib.exit_path_remove(self.path, keys.pop())

    def disable(self, device: RegisterDevice) -> None:
        self.disconnect(device)
        if device.place.slot in self._collectors:
            self._collectors.pop(device.place.slot).close()

    def begin_assist(self, device: RegisterDevice) -> None:
        """Offer this device's native build what its kernel half declines; no vCPU runs.  Raises OffloadError."""
        self.load(device)
        library, handle = self._devices[device.place.slot]
        with self._assisting:
            self.lib.exit_path_assist_by(self.path, device.place.slot, library.device_assist, handle)

    def end_assist(self, device: RegisterDevice) -> None:
        with self._assisting:
            self.lib.exit_path_assist_by(self.path, device.place.slot, self.ffi.NULL, self.ffi.NULL)

    def assist(self, access: Declined) -> tuple[int, int]:
        """What the vCPU loop does with a decline, for those of no vCPU: (verdict, line)."""
        declined = self._pack(access.value, access.device, access.offset, access.width, access.reason, 0)
        line = self.ffi.new("int32_t *")
        with self._assisting:
            if self.path is None:       # the thread that upcalls come by ends after this backend
                return Verdict.TO_USER, 0
            return self.lib.exit_path_assist(self.path, declined, line), line[0]

    def write(self, bus: Bus, address: int, width: int, value: int) -> tuple[int, int]:
        """What the vCPU loop does, for a driver that is no guest: (verdict, line)."""
        verdict = self.lib.exit_path_write(self.path, bus, address, width, value, self._line)
        return verdict, self._line[0]

    def close(self) -> None:
        for collector in self._collectors.values():
            collector.close()
        with self._assisting:
            path, self.path = self.path, None
        for library, handle in self._devices.values():
            library.device_free(handle)
        self.lib.exit_path_free(path)
