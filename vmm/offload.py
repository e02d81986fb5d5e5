"""Put devices' kernel halves on the exit path, and take them off: in the kernel (`on`, BPF on
KVM's tracepoints) or in this process (`host`, the same source as a shared object).

What a backend is asked: `load(device)` once, then `enable(device)` and `disable(device)`
any number of times while no vCPU runs.  Everything it makes is held by file descriptors of
this process, so that its end, however it comes, ends all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import threading
from pathlib import Path

from .addresses import IOAPIC
from .bpf import Attachment, BpfUnavailable, Maps, Object
from .device import BUILD, Place, RegisterDevice, Routed
from .devmodel.abi import AbiMismatch, check_object
from .devmodel.engine import STRIDE, engine_layout
from .devmodel.exit_path import (CALLS_BYTES, Access, PAGES, VCPUS, Action, Bus, MemoryLayout, Route, RouteKey,
                                 machine_layout, vcpu_layout)
from .devmodel.exit_path import Declined as DeclinedBlock
from .devmodel.layout import PAGE, BlockLayout, DeviceLayout, in_order, layout_block
from .devmodel.view import address_of, ffi, struct_of, view_of
from .errors import UserError
from .memory import GuestMemory
from .sync.handoff import Declined, Declines
from .sync.region import Piece, Region

WATCHED = 0xffffffff        # slot of writes that userspace is only told of
IOAPIC_WINDOW = 0x10        # offset of the I/O APIC's data register (82093AA, 3.1)


class OffloadError(UserError):
    """A device cannot be offloaded as asked; says why."""


def _struct(layout: BlockLayout, **fields: int):
    """Bytes of a struct, by its schema."""
    raw = ffi.new("char[]", layout.size + 8)
    at = int(ffi.cast("uintptr_t", raw)) + 7 & ~7
    view = view_of(layout)(at, raw)
    for name, value in fields.items():
        setattr(view, name, value)
    return bytes(ffi.buffer(ffi.cast("char *", at), layout.size))


def route_bytes(device: RegisterDevice, route: Routed) -> tuple[bytes, bytes]:
    """Key and value of one route, as both dispatchers have them."""
    key = _struct(layout_block(RouteKey), address=route.address, bus=device.place.bus,
                  width=route.width)
    value = _struct(layout_block(Route), device=device.place.slot, action=route.action,
                    offset=route.offset, target=route.target)
    return key, value


def check_abi(path: Path, layout: DeviceLayout) -> None:
    """The built object against the schema.  Raises AbiMismatch or OffloadError.

    The answer depends on the object's bytes and the layout alone, so it is kept beside the
    object, under the digests of both; reading the debug information takes a tenth of a second.
    """
    if not path.exists():
        raise OffloadError(f"{path} is missing; wanted `make` to have built it")
    record = path.with_name(path.name + ".abi")
    wanted = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {layout.hash:016x}\n"
    if record.exists() and record.read_text() == wanted:
        return
    check_object(path, [*layout.structs(), *in_order([engine_layout()])], required=(layout.state.c_name,))
    with contextlib.suppress(OSError):      # a folder that may not be written: then each time
        record.write_text(wanted)


def check_hash(path: Path, layout: DeviceLayout, found: int) -> None:
    """What debug information does not show: values of enums, reasons, who takes a register."""
    if found != layout.hash:
        raise AbiMismatch(f"{path}: built for layout {found:#018x}; wanted {layout.hash:#018x}, version "
                          f"{layout.version} of {layout.device.__name__}: build it again")


class SharedPlaces:
    """Register pages and device state: BPF map memory where `maps` is given, else a memfd."""

    def __init__(self, maps: Maps | None):
        self.maps = maps
        self.pages_fd = maps.array("pages", PAGE, PAGES) if maps else -1
        self.pages = Region("pages", [Piece(self.pages_fd, 0, PAGE * PAGES)]) if maps else \
            Region.anonymous("pages", PAGE * PAGES)
        self._states: list[Region] = []

    def page(self, slot: int) -> int:
        return self.pages.address + slot * PAGE

    def state(self, name: str, size: int) -> tuple[Region, int]:
        """Memory for one device's state, and the map that it lies in (or -1)."""
        whole = -(-size // PAGE) * PAGE
        fd = -1
        if self.maps:
            fd = self.maps.array("state", size, 1, shared=False)    # every device has its own
            region = Region(f"state of {name}", [Piece(fd, 0, whole)], (fd,))
        else:
            region = Region.anonymous("state", size)
        self._states.append(region)
        return region, fd

    def engines(self, name: str, count: int) -> tuple[int, int]:
        """Memory for the engines of `count` queues, and the map that it lies in (or -1)."""
        if not count:
            return 0, -1
        fd = -1
        if self.maps:
            fd = self.maps.array("engines", STRIDE, count, shared=False)
            region = Region(f"engines of {name}", [Piece(fd, 0, STRIDE * count)], (fd,))
        else:
            region = Region.anonymous("engines", STRIDE * count)
        self._states.append(region)
        return region.address, fd

    def close(self) -> None:
        for region in (*self._states, self.pages):
            region.close()


class Calls:
    """Calls from the exit path where no vCPU is at hand, answered on a thread of ours.

    It also looks after completions that nobody collected: an interrupt injected where our
    programs could not see it, or a pin without an MSI.
    """

    LOOK_S = 0.1

    def __init__(self, maps: Maps, hand_over, watched: dict[int, RegisterDevice]):
        """`watched` has, and goes on to have, the devices whose completions are looked after."""
        self._hand_over, self._maps, self._watched = hand_over, maps, watched
        self._unpack = struct_of(layout_block(DeclinedBlock)).unpack_from
        self._size = layout_block(DeclinedBlock).size
        fd = maps.ring("calls", CALLS_BYTES)
        self._handle = maps.lib.calls_open(fd, self._size)
        if not self._handle:
            raise BpfUnavailable("BPF ring buffer: mapping it failed; wanted it to work")
        self._entries = maps.ffi.new("char[]", self._size * 64)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, daemon=True, name="calls")
        self._thread.start()

    def _run(self) -> None:
        poller = select.poll()
        for fd in (self._maps.lib.calls_fd(self._handle), self._stop):
            poller.register(fd, select.POLLIN)
        while True:
            ready = dict(poller.poll(1000 * self.LOOK_S))
            if self._stop in ready:
                return
            if ready:
                self._answer()
            else:
                for device in list(self._watched.values()):
                    device.look_after()

    def _answer(self) -> None:
        count = self._maps.lib.calls_take(self._handle, self._entries, 64)
        data = self._maps.ffi.buffer(self._entries)
        for i in range(max(0, count)):
            self._hand_over(Declined._make(self._unpack(data, i * self._size)))

    def close(self) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._maps.lib.calls_close(self._handle)
        os.close(self._stop)


class BpfBackend:
    """`on`: the dispatcher and one object a device, attached while at least one is enabled."""

    def __init__(self, maps: Maps, memory: GuestMemory, vm, interrupts, vcpus: int, hand_over):
        """`hand_over(Declined)` is told, on a thread of ours, what no vCPU can be told of."""
        self.maps, self.vm, self.interrupts = maps, vm, interrupts
        maps.per_cpu("current", layout_block(Access).size)
        self._memory_layout, self._memory_raw = memory.layout()
        self._map_exits(vcpus)
        self._enabled: dict[int, RegisterDevice] = {}      # those with rings
        self._calls = Calls(maps, hand_over, self._enabled)
        maps.hash("vcpu_of_thread", 4, 4, VCPUS)
        self._routes = maps.hash("routes", layout_block(RouteKey).size, layout_block(Route).size, 1024)
        self._programs = maps.programs("programs", PAGES)
        self.dispatcher = Object(BUILD / "exit_path.bpf.o", maps, {}, self._constants())
        self._attached: Attachment | None = None
        self._objects: dict[int, Object] = {}
        self._claims: dict[int, list[tuple[Routed, int]]] = {}
        self._collectors: dict[int, Attachment] = {}
        self._silent: dict[int, int] = {}   # slot -> eventfd of its completions, if that is no pin's
        self._sink = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)    # claims, and nobody reads

    def _map_exits(self, vcpus: int) -> None:
        """What the exit path and the vCPUs' threads share."""
        stride, kind = vcpu_layout().size, view_of(vcpu_layout())
        fd = self.maps.array("vcpus", stride, vcpus)
        self._exits = Region("vcpus", [Piece(fd, 0, -(-stride * vcpus // PAGE) * PAGE)])
        self.exits = [kind(self._exits.address + i * stride) for i in range(vcpus)]
        fd = self.maps.array("machine", machine_layout().size, 1)
        self._machine = Region("machine", [Piece(fd, 0, PAGE)])
        machine = view_of(machine_layout())(self._machine.address)
        self._declines = [Declines(exits, machine) for exits in self.exits]

    def _constants(self, place: Place | None = None) -> dict[str, bytes]:
        constants = {"memory": bytes(ffi.buffer(ffi.cast("char *", address_of(self._memory_layout)),
                                           layout_block(MemoryLayout).size))}
        if place:
            constants["slot"] = place.slot.to_bytes(4, "little")
        return constants

    def on_thread(self, index: int) -> None:
        """Make this thread known as vCPU `index`."""
        if self.dispatcher.run("register_vcpu", index):
            raise BpfUnavailable(f"vCPU {index}: no room in the map of threads")

    def declined(self, index: int):
        return self._declines[index].take()

    def load(self, device: RegisterDevice) -> None:
        """Load a device's handler, if it has one; posted registers need none."""
        if not device.handler:
            return
        path = device.handlers / f"{device.handler}.bpf.o"
        check_abi(path, device.layout)
        own = {"state": device.place.state_fd}
        if device.engine_queues:
            own["engines"] = device.place.engines_fd
        loaded = Object(path, self.maps, own, self._constants(device.place))
        self._objects[device.place.slot] = loaded
        check_hash(path, device.layout, int.from_bytes(loaded.constant("layout_hash"), "little"))

    @property
    def attached(self) -> bool:
        return self._attached is not None

    def enable(self, device: RegisterDevice) -> None:
        slot = device.place.slot
        if slot in self._objects:
            fd = self._objects[slot].program("device_exit")
            self.maps.update(self._programs, slot.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        if device.engine_queues and slot in self._objects:
            self._start_engines(device)
        self._claims[slot] = []
        self.connect(device)
        if self._attached is None:
            self._watch_ioapic()
            self._attached = Attachment(self.dispatcher, "on_mmio", "on_pio")

    def connect(self, device: RegisterDevice) -> None:
        """Take the device's writes, where its registers are now: routes, then claims, so that none
        is lost between them."""
        for route in device.routes():
            fd = self._doorbell(device, route)
            self.maps.update(self._routes, *route_bytes(device, route))
            self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, True)
            self._claims[device.place.slot].append((route, fd))

    def _doorbell(self, device: RegisterDevice, route: Routed) -> int:
        if route.action is Action.NOTIFY and device.doorbell_interrupts:
            return device.line(route.queue).claim()
        return self._sink

    def disconnect(self, device: RegisterDevice) -> None:
        """Take them no longer."""
        claims = self._claims[device.place.slot]
        while claims:
            route, fd = claims.pop()
            self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, False)
            self.maps.delete(self._routes, route_bytes(device, route)[0])

    def _start_engines(self, device: RegisterDevice) -> None:
        """Rings, and the program that collects what comes back, where the interrupt is injected."""
        slot = device.place.slot
        attach = next((ring for other in self._enabled.values() if (ring := other.ring()) >= 0), -1)
        device.start_engines(lambda queue: self._wires(device, queue), True, not device.doorbell_interrupts, attach)
        if device.ring() >= 0:
            self._collectors[slot] = Attachment(self._objects[slot], "device_collect")
            self._enabled[slot] = device

    def _wires(self, device: RegisterDevice, queue: int) -> tuple[int, int]:
        """What a ring signals: the queue's interrupt, or where the handler decides on that nothing but
        the collector; and what raises the interrupt."""
        line, slot = device.line(queue), device.place.slot
        if device.doorbell_interrupts:
            return line.completions(), line.claim()
        if slot not in self._silent:
            self._silent[slot] = self.interrupts.collector()
        return self._silent[slot], line.claim()

    def _watch_ioapic(self) -> None:
        value = _struct(layout_block(Route), device=WATCHED, action=Action.WATCH)
        for width in (1, 2, 4, 8):      # KVM's I/O APIC takes them all
            key = _struct(layout_block(RouteKey), address=IOAPIC + IOAPIC_WINDOW, bus=Bus.MMIO, width=width)
            self.maps.update(self._routes, key, value)

    def disable(self, device: RegisterDevice) -> None:
        slot = device.place.slot
        self.disconnect(device)
        del self._claims[slot]
        for line in device.place.lines:
            line.release()
        if slot in self._collectors:
            self._collectors.pop(slot).close()
            del self._enabled[slot]
        if not self._claims:
            self._detach()

    def _detach(self) -> None:
        if self._attached:
            self._attached.close()
            self._attached = None

    def close(self) -> None:
        self._detach()
        self._calls.close()
        for collector in self._collectors.values():
            collector.close()
        self.dispatcher.close()
        for loaded in self._objects.values():
            loaded.close()
        self._exits.close()
        self._machine.close()
        for fd in (self._sink, *self._silent.values()):
            os.close(fd)


_NATIVE = """
struct exit_path; struct device;
struct exit_path *exit_path_new(void);
void exit_path_free(struct exit_path *path);
int exit_path_add(struct exit_path *path, const void *key, const void *route, void *page,
                  void *notify, struct device *device, int32_t line);
void exit_path_remove(struct exit_path *path, const void *key);
int exit_path_write(struct exit_path *path, uint32_t bus, uint64_t address, uint32_t width,
                    uint64_t value, int32_t *line);
struct device *device_new(void *state, void *page, void *ram, void *engines, uint32_t engine_count,
                          const void *memory, const int32_t *lines, uint32_t line_count);
int device_collect(struct device *device, int eventfd, int vm_fd, uint32_t *interrupts);
void device_free(struct device *device);
int device_notify(struct device *device, const void *access, uint32_t *reason);
extern uint64_t layout_hash;
"""


def native_ffi():
    """cffi for the shared objects, which are loaded by path (ABI mode)."""
    from cffi import FFI
    native = FFI()
    native.cdef(_NATIVE)
    return native


class Collector:
    """`host`: a thread that completes what comes back from the rings of one device."""

    STOP = 1 << 31      # added to the eventfd

    def __init__(self, library, handle, device: RegisterDevice, vm):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._library, self._handle, self._device = library, handle, device
        self._vm_fd = vm.fd if vm else -1
        self._interrupts = ffi.new("uint32_t *")
        self._stopping, self._thread = False, None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"{self._device.name} ring")
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            verdict = self._library.device_collect(self._handle, self.fd, self._vm_fd, self._interrupts)
            if verdict > 0 and verdict & 1 and not self._stopping:
                for queue in range(self._device.engine_queues):
                    self._device.called(queue, 0)
            if verdict > 0 and verdict & 2:
                for queue in range(self._device.engine_queues):
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

    def __init__(self, memory: GuestMemory, vm):
        self.ffi, self.memory, self.vm = native_ffi(), memory, vm
        path = BUILD / "exit_path.so"
        if not path.exists():
            raise OffloadError(f"{path} is missing; wanted `make` to have built it")
        self.lib = self.ffi.dlopen(str(path))
        self.path = self.lib.exit_path_new()
        self.hook = int(self.ffi.cast("uintptr_t", self.ffi.addressof(self.lib, "exit_path_write")))
        self.context = int(self.ffi.cast("uintptr_t", self.path))
        self._devices: dict[int, tuple] = {}
        self._collectors: dict[int, Collector] = {}
        self._line = self.ffi.new("int32_t *")
        self._routed: dict[int, list[bytes]] = {}       # slot -> keys of its routes

    def load(self, device: RegisterDevice) -> None:
        if not device.handler:
            return
        path = device.handlers / f"{device.handler}.so"
        check_abi(path, device.layout)
        library = self.ffi.dlopen(str(path))
        check_hash(path, device.layout, library.layout_hash)
        layout, _raw = self.memory.layout()
        lines = [device.line(queue).number for queue in range(device.queue_count)]
        handle = library.device_new(self._pointer(device.place.state), self._pointer(device.place.page),
                                    self._pointer(self.memory.address), self._pointer(device.place.engines),
                                    device.engine_queues, self._pointer(address_of(layout)), lines, len(lines))
        self._devices[device.place.slot] = (library, handle)

    def _pointer(self, address: int):
        return self.ffi.cast("void *", address)

    def enable(self, device: RegisterDevice) -> None:
        library, handle = self._devices.get(device.place.slot, (None, None))
        self._routed[device.place.slot] = []
        self.connect(device)
        if device.engine_queues and library:
            collector = Collector(library, handle, device, self.vm)
            device.start_engines(lambda _queue: (collector.fd, collector.fd), False, False)
            if device.ring() >= 0:
                collector.start()
            self._collectors[device.place.slot] = collector

    def connect(self, device: RegisterDevice) -> None:
        """Take the device's writes, where its registers are now."""
        library, handle = self._devices.get(device.place.slot, (None, self.ffi.NULL))
        notify = self.ffi.addressof(library, "device_notify") if library else self.ffi.NULL
        for route in device.routes():
            key, value = route_bytes(device, route)
            if self.lib.exit_path_add(self.path, key, value, self._pointer(device.place.page), notify, handle,
                                      device.line(route.queue).number):
                raise OffloadError(f"{device.name}: no room for its routes")
            self._routed[device.place.slot].append(key)

    def disconnect(self, device: RegisterDevice) -> None:
        """Take them no longer."""
        while keys := self._routed[device.place.slot]:
            self.lib.exit_path_remove(self.path, keys.pop())

    def disable(self, device: RegisterDevice) -> None:
        self.disconnect(device)
        if device.place.slot in self._collectors:
            self._collectors.pop(device.place.slot).close()

    def write(self, bus: Bus, address: int, width: int, value: int) -> tuple[int, int]:
        """What the vCPU loop does, for a driver that is no guest: (verdict, line)."""
        verdict = self.lib.exit_path_write(self.path, bus, address, width, value, self._line)
        return verdict, self._line[0]

    def close(self) -> None:
        for collector in self._collectors.values():
            collector.close()
        for library, handle in self._devices.values():
            library.device_free(handle)
        self.lib.exit_path_free(self.path)


def unavailable(error: Exception) -> str:
    """Why a mode cannot be had, in one line."""
    return str(error).splitlines()[0]


LOADING_ERRORS = (BpfUnavailable, OffloadError, AbiMismatch)
