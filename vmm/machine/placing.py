"""Where a machine's devices are: register pages, buses, interrupt lines, and BARs that the guest moves."""

from __future__ import annotations

import logging

from ..device.place import Place
from ..device.recorded import Recorder
from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import DEVICES, Bus
from ..devmodel.layout import PAGE
from ..errors import UserError
from ..kvm.addresses import DEVICE_WINDOWS, DEVICE_WINDOWS_END, FIRST_PIN, IOAPIC, MIB, VIRTIO_MMIO
from ..kvm.bus import BusOverlap
from ..virtio import recorded
from ..virtio.virtio_device import VirtioDevice
from ..virtio.virtio_mmio import MmioTransport

log = logging.getLogger("splitvmm.machine")


class Placing:
    """The places of one machine's devices."""

    def __init__(self, machine):
        self._machine = machine
        self.virtio_mmio: set[int] = set()          # numbers of the virtio-mmio devices
        self._page_slots: dict[int, int] = {}       # device's slot -> KVM's number of its page
        self._next_window = DEVICE_WINDOWS

    def place(self, device: RegisterDevice, base: int | None, bus: Bus) -> None:
        """Give a device its place: at `base`, or where the next one of its transport goes.  Raises UserError."""
        machine, slot = self._machine, len(self._machine.devices)
        if slot >= DEVICES:
            raise UserError(f"{slot + 1} devices; wanted at most {DEVICES}")
        if device in machine.devices:
            raise UserError(f"{device.name}: added twice; wanted an object for each device")
        if device.name in (other.name for other in machine.devices):
            raise UserError(f"{device.name}: a second device of this name; wanted a name for each")
        if isinstance(device, VirtioDevice) and device.transport is None:
            device.transport = MmioTransport()
        pci = isinstance(device, VirtioDevice) and device.transport.on_pci
        if not pci:
            lines = [machine.interrupts.pin_line()]
            number = lines[0].gsi - FIRST_PIN
            if base is None:
                base = VIRTIO_MMIO + number * PAGE if device.size == PAGE else self._window(device)
                if isinstance(device, VirtioDevice):
                    self.virtio_mmio.add(number)
        device.failed = machine.running.failed
        region, fd = machine.places.state(device.name, device.layout.state.size)
        urings, urings_fd = machine.places.urings(device.name, device.uring_queues)
        own, own_fd = machine.places.memory(device.name, device.layout.memory_bytes)
        first_page, page = machine.places.take_pages(device.name, device.registers.register_bytes // PAGE)
        recorder = Recorder(machine.recording.ring, slot) if machine.recording else None
        device.attach(Place(slot, bus, None if pci else base, page, first_page, region.address, fd,
                            device.transport.lines if pci else lines, machine.memory, own, own_fd,
                            urings, urings_fd, machine.timers, (machine.places, region), recorder))
        if recorder:
            machine.recording.describe(device)
            recorder.watch(device)
            if isinstance(device, VirtioDevice):
                recorded.watch(device, recorder)
        if pci:
            function = device.transport.function
            function.moved = lambda base: self._moved(device, base)
            machine.pci.add(function)
        else:
            size = device.size if bus is Bus.MMIO else device.layout.ports
            self._check_window(device, base, size, bus)
            machine.buses[bus].add(base, size, device, device.name)
            self._map_page(device)
            self._map_memory(device)

    def _window(self, device: RegisterDevice) -> int:
        """The next free place for a device of more than one page, at a whole MiB.  Raises UserError."""
        base = self._next_window
        self._next_window += -(-device.size // MIB) * MIB
        if self._next_window > DEVICE_WINDOWS_END:
            raise UserError(f"{device.name}: {device.size:#x} bytes of guest-physical memory, and "
                            f"{DEVICE_WINDOWS_END - base:#x} left for devices; wanted less, or a base")
        return base

    def _check_window(self, device: RegisterDevice, base: int, size: int, bus: Bus) -> None:
        """A base that the user chose.  Raises UserError."""
        end = base + size
        if bus is Bus.PORT:
            if end > 1 << 16 or device.layout.memories:
                raise UserError(f"{device.name}: ports {base:#x} to {end - 1:#x}; wanted at most 0xffff, and no device "
                                "memory")
        elif base % PAGE or end > 1 << 48 or any(base < gpa + size and gpa < end for gpa, size, *_ in (
                *self._machine.memory.slots(), (IOAPIC, (1 << 32) - IOAPIC))):
            raise UserError(f"{device.name}: base {base:#x}, up to {end - 1:#x}; wanted a multiple of {PAGE:#x} where "
                            "no guest memory is, no interrupt controller and no firmware")

    def _map_page(self, device: RegisterDevice) -> None:
        """Show the register pages to the guest as memory."""
        place = device.place
        if self._machine.vm and place.bus is Bus.MMIO and device.registers.page_is_memory:
            self._page_slots[place.slot] = self._machine.vm.add_memory(place.base, device.registers.register_bytes,
                                                                       place.page, read_only=True)

    def _map_memory(self, device: RegisterDevice) -> None:
        """Give the guest the device's own memory."""
        for name, at in device.layout.memory_places().items():
            if self._machine.vm:
                item = device.layout.memories[name]
                self._machine.vm.add_memory(device.place.base + item.offset, item.size, device.place.own_memory + at)

    def _moved(self, device: VirtioDevice, base: int | None) -> None:
        """The guest has moved a device's BAR, or switched it off (None).  On a vCPU's thread; others
        may be ringing its doorbells, and lose them at worst."""
        place = device.place
        log.debug("%s: BAR %s", device.name, "nowhere" if base is None else f"at {base:#x}")
        with device.lock:
            backend = self._machine.offloading.backend(device.mode)
            if place.base is not None:
                if backend:
                    self._machine.offloading.registers_move(device)
                    backend.disconnect(device)
                if place.slot in self._page_slots:
                    self._machine.vm.remove_memory(self._page_slots.pop(place.slot))
                self._machine.buses[Bus.MMIO].remove(place.base)
                place.base = None
            if base is None:
                return
            try:
                self._machine.buses[Bus.MMIO].add(base, device.transport.function.bar_bytes, device.transport,
                                                  device.name)
            except BusOverlap as error:
                device.log.warning("%s: %s; it stays switched off", device.name, error)
                return
            place.base = base
            self._map_page(device)
            if backend:
                backend.connect(device)
