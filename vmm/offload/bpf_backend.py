"""`on`: devices' kernel halves as BPF on KVM's tracepoints.

What a backend is asked: `load(device)` once, then `enable(device)` and `disable(device)`
any number of times while no vCPU runs; a device that was enabled in part only is disabled, too.
Everything it makes is held by file descriptors of this process, so that its end, however it
comes, ends all of it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from ..device.place import Place, Routed
from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import (
    DEVICES,
    ROUTES,
    TRACES_BYTES,
    UPCALLS_BYTES,
    VCPUS,
    Access,
    Action,
    Bus,
    MemoryLayout,
    Route,
    RouteKey,
    machine_layout,
    vcpu_layout,
)
from ..devmodel.layout import PAGE, layout_block
from ..devmodel.uring import Raises
from ..devmodel.view import address_of, ffi, view_of
from ..kvm.addresses import IOAPIC, PIC_MASKS
from ..kvm.bpf import BpfUnavailable, Maps, Object
from ..kvm.memory import GuestMemory
from ..paths import BUILD
from ..sync.background import Background
from ..sync.handoff import Declines
from ..sync.region import Piece, Region
from ..timeline import span
from .objects import LOADING_ERRORS, check_abi, check_hash, route_bytes, struct_bytes
from .tracing import Tracing
from .upcalls import Upcalls

if TYPE_CHECKING:
    from ..kvm.verifier import LogFile

WATCHED = 0xffffffff        # slot of writes that userspace is only told of
IOAPIC_WINDOW = 0x10        # offset of the I/O APIC's data register (82093AA, 3.1)


class BpfBackend:
    """`on`: the dispatcher and one object a device; the host's exits come to it while at least one is enabled."""

    def __init__(self, maps: Maps, memory: GuestMemory, vm, interrupts, vcpus: int, hand_over, failed, tick,
                 tracing: Tracing | None = None, log: LogFile | None = None, recording: bool = False):
        """`hand_over(Declined)` is told, on a thread of ours, what no vCPU can be told of; `failed(error)`
        that this thread has ended; `tick()` is called by the clock, there.  `log` keeps what the verifier says of
        handlers that it refuses.  With `recording`, `maps` has the ring of events already."""
        self._log, self._tracing, self._recording = log, tracing, recording
        self.maps, self.vm, self.interrupts = maps, vm, interrupts
        self.attached = False
        self._objects: dict[int, Object] = {}
        self._loading: dict[int, Background] = {}       # by slot, as _objects
        self._claims: dict[int, list[tuple[Routed, int]]] = {}
        self._completions: dict[tuple[int, int], int] = {}      # (slot, queue) -> eventfd of what comes back
        self._enabled: dict[int, RegisterDevice] = {}      # those with rings
        with ExitStack() as parts:
            self._make(parts, memory, vcpus, hand_over, failed, tick)
            self._parts = parts.pop_all()

    def _make(self, parts: ExitStack, memory: GuestMemory, vcpus: int, hand_over, failed, tick) -> None:
        """Threads last: what fails before has none to end."""
        maps = self.maps
        maps.per_cpu("current", layout_block(Access).size)
        self._memory_layout, self._memory_raw = memory.layout()
        self._map_exits(parts, vcpus)
        upcalls = maps.ring("upcalls", UPCALLS_BYTES)
        traces = maps.ring("traces", TRACES_BYTES if self._tracing else PAGE)
        if not self._recording:
            maps.array("events", PAGE, 1)
        maps.hash("vcpu_of_thread", 4, 4, VCPUS)
        self._routes = maps.hash("routes", layout_block(RouteKey).size, layout_block(Route).size, ROUTES)
        self._programs = maps.programs("programs", DEVICES)
        self._sink = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)    # claims, and nobody reads
        parts.callback(os.close, self._sink)
        self._dispatcher = parts.enter_context(Background(self._load_dispatcher, "BPF"))
        parts.callback(self._close_dispatcher)
        self._host_path = parts.enter_context(Background(self._load_host_path, "BPF"))
        parts.callback(self._leave)
        if self._tracing:
            self._tracing.listen(maps, traces)
        parts.callback(Upcalls(maps, upcalls, hand_over, self._enabled, failed, tick).close)

    def _load_dispatcher(self) -> Object:
        with span("dispatcher"):
            return Object(BUILD / "exit_path.bpf.o", self.maps, {}, self._constants(), self._log)

    def _load_host_path(self):
        with span("host path"):
            return self.vm.host_path()

    @property
    def dispatcher(self) -> Object:
        """Raises BpfUnavailable if it was refused."""
        return self._dispatcher.result()

    def check(self) -> None:
        """Waits until the exit path itself is loaded.  Raises BpfUnavailable if it was refused."""
        self._dispatcher.result()
        self._host_path.result()

    def _close_dispatcher(self) -> None:
        with suppress(*LOADING_ERRORS):
            self.dispatcher.close()

    def _leave(self) -> None:
        with suppress(*LOADING_ERRORS):
            self._host_path.result().close()

    def _map_exits(self, parts: ExitStack, vcpus: int) -> None:
        """What the exit path and the vCPUs' threads share."""
        stride, kind = vcpu_layout().size, view_of(vcpu_layout())
        fd = self.maps.array("vcpus", stride, vcpus)
        self._exits = Region("vcpus", [Piece(fd, 0, -(-stride * vcpus // PAGE) * PAGE)])
        parts.callback(self._exits.close)
        self.exits = [kind(self._exits.address + i * stride) for i in range(vcpus)]
        fd = self.maps.array("machine", machine_layout().size, 1)
        self._machine = Region("machine", [Piece(fd, 0, PAGE)])
        parts.callback(self._machine.close)
        machine = view_of(machine_layout())(self._machine.address)
        self._declines = [Declines(exits, machine) for exits in self.exits]

    def _constants(self, place: Place | None = None) -> dict[str, bytes]:
        constants = {"memory": bytes(ffi.buffer(ffi.cast("char *", address_of(self._memory_layout)),
                                           layout_block(MemoryLayout).size))}
        if self._tracing:
            constants["tracing"] = (1).to_bytes(4, "little")
        if self._recording:
            constants["recording"] = (1).to_bytes(4, "little")
        if place:
            constants["slot"] = place.slot.to_bytes(4, "little")
            constants["first_page"] = place.first_page.to_bytes(4, "little")
        return constants

    def on_thread(self, index: int) -> None:
        """Make this thread known as vCPU `index`."""
        if self.dispatcher.run("register_vcpu", index):
            raise BpfUnavailable(f"vCPU {index}: no room in the map of threads")

    def outbox(self, index: int):
        """Where a vCPU's writes are that have gone up: Declines.places."""
        return self._declines[index].places

    def declined(self, index: int):
        return self._declines[index].take()

    def begin_load(self, device: RegisterDevice) -> None:
        """`load` on a thread of its own, which `load` waits for."""
        if device.handler:
            self._loading[device.place.slot] = Background(lambda: self._load(device), "BPF")

    def load(self, device: RegisterDevice) -> None:
        """Load a device's handler, if it has one; posted registers need none."""
        loading = self._loading.pop(device.place.slot, None)
        if loading:
            loading.result()
        elif device.handler:
            self._load(device)

    def _load(self, device: RegisterDevice) -> None:
        path = device.handlers / f"{device.handler}.bpf.o"
        check_abi(path, device.layout)
        own = {"state": device.place.state_fd}
        if device.uring_queues:
            own["urings"] = device.place.urings_fd
        if device.place.own_memory:
            own["memory_of_device"] = device.place.own_memory_fd
        with span(f"{device.name}'s handler"):
            loaded = Object(path, self.maps, own, self._constants(device.place), self._log,
                            ("device_collect", "device_exit"))
        self._objects[device.place.slot] = loaded
        check_hash(path, device.layout, int.from_bytes(loaded.constant("layout_hash"), "little"))

    @property
    def polls(self) -> bool:
        """Whether there are rings, and a thread that polls them."""
        return bool(self._enabled)

    def enable(self, device: RegisterDevice) -> None:
        slot = device.place.slot
        self._claims[slot] = []
        if slot in self._objects:
            fd = self._objects[slot].program("device_exit")
            self.maps.update(self._programs, slot.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        if device.uring_queues and slot in self._objects:
            self._start_urings(device)
        if not self.attached:       # before the first claim: what is claimed, nobody else sees
            self._watch_chips()
            self._listen()
        self.connect(device)

    def _listen(self) -> None:
        host_path = self._host_path.result()
        host_path.join(self.dispatcher)
        host_path.listen(True)
        self.attached = True

    def connect(self, device: RegisterDevice) -> None:
        """Take the device's writes, where its registers are now: routes, then claims, so that none
        is lost between them."""
        for route in device.routes():
            self._connect(device, route)

    def _connect(self, device: RegisterDevice, route: Routed) -> None:
        fd, (key, value) = self._doorbell(device, route), route_bytes(device, route)
        self.maps.update(self._routes, key, value)
        try:
            self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, True)
        except BaseException:
            self.maps.delete(self._routes, key)
            raise
        self._claims[device.place.slot].append((route, fd))

    def let_doorbells_out(self, device: RegisterDevice) -> None:
        """Doorbells leave the kernel from now on.  vCPUs may be ringing them: with the claim gone before the route a
        doorbell is seen twice at worst."""
        claims = self._claims[device.place.slot]
        for route, fd in [each for each in claims if each[0].action is Action.NOTIFY]:
            self._disconnect(device, route, fd)
            claims.remove((route, fd))

    def take_doorbells_in(self, device: RegisterDevice) -> None:
        """The opposite."""
        for route in device.routes():
            if route.action is Action.NOTIFY:
                self._connect(device, route)

    def _doorbell(self, device: RegisterDevice, route: Routed) -> int:
        if route.interrupts or (route.action is Action.NOTIFY and device.doorbell_interrupts):
            return device.line(route.queue).claim()
        return self._sink

    def disconnect(self, device: RegisterDevice) -> None:
        """Take them no longer."""
        claims = self._claims[device.place.slot]
        while claims:
            self._disconnect(device, *claims.pop())

    def _disconnect(self, device: RegisterDevice, route: Routed, fd: int) -> None:
        self.vm.ioeventfd(device.place.bus, route.address, route.width, fd, False)
        self.maps.delete(self._routes, route_bytes(device, route)[0])

    def _start_urings(self, device: RegisterDevice) -> None:
        """Rings, and the program that collects what comes back, where the interrupt is injected."""
        slot = device.place.slot
        attach = next((ring for other in self._enabled.values() if (ring := other.ring()) >= 0), -1)
        raises = Raises.COLLECTED if device.doorbell_interrupts else Raises.ALL
        device.start_urings(lambda queue: self._eventfds(device, queue), True, raises, attach)
        if device.ring() >= 0:
            self._enabled[slot] = device

    def _eventfds(self, device: RegisterDevice, queue: int) -> tuple[int, int]:
        """What a ring signals, which is for the collector alone, and what raises the queue's interrupt."""
        place = device.place.slot, queue
        if place not in self._completions:
            self._completions[place] = self.interrupts.collector(*place)
        return self._completions[place], device.line(queue).claim()

    def _watch_chips(self) -> None:
        """See what the guest masks: in the I/O APIC, which KVM lets it write in any width, and in the 8259s."""
        value = struct_bytes(layout_block(Route), device=WATCHED, action=Action.WATCH)
        places = [(Bus.MMIO, IOAPIC + IOAPIC_WINDOW, width) for width in (1, 2, 4, 8)]
        for bus, address, width in [*places, *((Bus.PORT, port, 1) for port in PIC_MASKS)]:
            self.maps.update(self._routes, struct_bytes(layout_block(RouteKey), address=address, bus=bus, width=width),
                             value)

    def disable(self, device: RegisterDevice) -> None:
        slot = device.place.slot
        self.disconnect(device)
        del self._claims[slot]
        for line in device.place.lines:
            line.release()
        self.maps.delete(self._programs, slot.to_bytes(4, "little"))
        self._enabled.pop(slot, None)
        if not self._claims:
            self._detach()

    def _detach(self) -> None:
        if self.attached:
            self._host_path.result().listen(False)
            self.attached = False

    def close(self) -> None:
        self._detach()
        for loading in self._loading.values():      # of a machine that was not finished
            with suppress(*LOADING_ERRORS):
                loading.result()
        for loaded in self._objects.values():
            loaded.close()
        self._parts.close()
        for fd in self._completions.values():
            os.close(fd)
