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
from pathlib import Path

from .bpf import Attachment, BpfUnavailable, Maps, Object
from .device import BUILD, Place, RegisterDevice, Routed
from .devmodel.abi import AbiMismatch, check_object
from .devmodel.exit_path import (PAGES, VCPUS, Action, Bus, MemoryLayout, Route, RouteKey,
                                 machine_layout, vcpu_layout)
from .devmodel.layout import PAGE, BlockLayout, DeviceLayout, layout_block
from .devmodel.view import address_of, ffi, view_of
from .errors import UserError
from .interrupts import IOAPIC, IOAPIC_WINDOW
from .memory import GuestMemory
from .sync.handoff import Declines
from .sync.region import Piece, Region

WATCHED = 0xffffffff        # slot of writes that userspace is only told of


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
    check_object(path, layout.structs(), required=(layout.state.c_name,))
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

    def close(self) -> None:
        for region in (*self._states, self.pages):
            region.close()


class BpfBackend:
    """`on`: the dispatcher and one object a device, attached while at least one is enabled."""

    def __init__(self, maps: Maps, memory: GuestMemory, vm, interrupts, vcpus: int):
        self.maps, self.vm, self.interrupts = maps, vm, interrupts
        self._memory_layout, self._memory_raw = memory.layout()
        self._map_exits(vcpus)
        maps.hash("vcpu_of_thread", 4, 4, VCPUS)
        self._routes = maps.hash("routes", layout_block(RouteKey).size, layout_block(Route).size, 1024)
        self._programs = maps.programs("programs", PAGES)
        self.dispatcher = Object(BUILD / "exit_path.bpf.o", maps, {}, self._constants())
        self._attached: Attachment | None = None
        self._objects: dict[int, Object] = {}
        self._claims: dict[int, list[tuple[Routed, int]]] = {}
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
            constants |= {"slot": place.slot.to_bytes(4, "little"), "bus": place.bus.to_bytes(4, "little"),
                          "base": place.base.to_bytes(8, "little")}
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
        loaded = Object(path, self.maps, {"state": device.place.state_fd},
                        self._constants(device.place))
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
        doorbell = self.interrupts.claim(device.place.line.pin)
        claims = [(route, doorbell if route.action is Action.NOTIFY else self._sink)
                  for route in device.routes()]
        for route, fd in claims:
            self.maps.update(self._routes, *route_bytes(device, route))
            self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, True)
        self._claims[slot] = claims
        if self._attached is None:
            self._watch_ioapic()
            self._attached = Attachment(self.dispatcher, "on_mmio", "on_pio")

    def _watch_ioapic(self) -> None:
        value = _struct(layout_block(Route), device=WATCHED, action=Action.WATCH)
        for width in (1, 2, 4, 8):      # KVM's I/O APIC takes them all
            key = _struct(layout_block(RouteKey), address=IOAPIC + IOAPIC_WINDOW, bus=Bus.MMIO, width=width)
            self.maps.update(self._routes, key, value)

    def disable(self, device: RegisterDevice) -> None:
        slot = device.place.slot
        for route, fd in self._claims.pop(slot):
            self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, False)
            self.maps.delete(self._routes, route_bytes(device, route)[0])
        self.interrupts.release(device.place.line.pin)
        if not self._claims:
            self._detach()

    def _detach(self) -> None:
        if self._attached:
            self._attached.close()
            self._attached = None

    def close(self) -> None:
        self._detach()
        self.dispatcher.close()
        for loaded in self._objects.values():
            loaded.close()
        self._exits.close()
        self._machine.close()
        os.close(self._sink)


_NATIVE = """
struct exit_path; struct device;
struct exit_path *exit_path_new(void);
void exit_path_free(struct exit_path *path);
int exit_path_add(struct exit_path *path, const void *key, const void *route, void *page,
                  void *notify, struct device *device, int32_t gsi);
void exit_path_remove(struct exit_path *path, const void *key);
int exit_path_write(struct exit_path *path, uint32_t bus, uint64_t address, uint32_t width,
                    uint64_t value, int32_t *gsi);
struct device *device_new(void *state, void *page, void *ram, const void *memory);
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


class HostBackend:
    """`host`: the native dispatcher, asked by the vCPU loop about every write that leaves KVM_RUN."""

    def __init__(self, memory: GuestMemory):
        self.ffi, self.memory = native_ffi(), memory
        path = BUILD / "exit_path.so"
        if not path.exists():
            raise OffloadError(f"{path} is missing; wanted `make` to have built it")
        self.lib = self.ffi.dlopen(str(path))
        self.path = self.lib.exit_path_new()
        self.hook = int(self.ffi.cast("uintptr_t", self.ffi.addressof(self.lib, "exit_path_write")))
        self.context = int(self.ffi.cast("uintptr_t", self.path))
        self._devices: dict[int, tuple] = {}
        self._gsi = self.ffi.new("int32_t *")

    def load(self, device: RegisterDevice) -> None:
        if not device.handler:
            return
        path = device.handlers / f"{device.handler}.so"
        check_abi(path, device.layout)
        library = self.ffi.dlopen(str(path))
        check_hash(path, device.layout, library.layout_hash)
        layout, _raw = self.memory.layout()
        handle = library.device_new(self._pointer(device.place.state), self._pointer(device.place.page),
                                    self._pointer(self.memory.address), self._pointer(address_of(layout)))
        self._devices[device.place.slot] = (library, handle)

    def _pointer(self, address: int):
        return self.ffi.cast("void *", address)

    def enable(self, device: RegisterDevice) -> None:
        library, handle = self._devices.get(device.place.slot, (None, self.ffi.NULL))
        notify = self.ffi.addressof(library, "device_notify") if library else self.ffi.NULL
        for route in device.routes():
            key, value = route_bytes(device, route)
            if self.lib.exit_path_add(self.path, key, value, self._pointer(device.place.page),
                                      notify, handle, device.place.line.pin):
                raise OffloadError(f"{device.name}: no room for its routes")

    def disable(self, device: RegisterDevice) -> None:
        for route in device.routes():
            self.lib.exit_path_remove(self.path, route_bytes(device, route)[0])

    def write(self, bus: Bus, address: int, width: int, value: int) -> tuple[int, int]:
        """What the vCPU loop does, for a driver that is no guest: (verdict, gsi)."""
        verdict = self.lib.exit_path_write(self.path, bus, address, width, value, self._gsi)
        return verdict, self._gsi[0]

    def close(self) -> None:
        for library, handle in self._devices.values():
            library.device_free(handle)
        self.lib.exit_path_free(self.path)


def unavailable(error: Exception) -> str:
    """Why a mode cannot be had, in one line."""
    return str(error).splitlines()[0]


LOADING_ERRORS = (BpfUnavailable, OffloadError, AbiMismatch)
