"""A whole VM put together: the only file that knows every part."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager, suppress
from time import CLOCK_BOOTTIME, clock_gettime, monotonic

from ..boot import acpi, boot, power
from ..device.register_device import Place, RegisterDevice
from ..devices.blk import BlkDevice
from ..devices.console import ConsoleDevice
from ..devices.disk_image import DiskImage
from ..devices.endpoints import Descriptor, open_both, open_output
from ..devices.net import NetDevice
from ..devices.rng import RngDevice
from ..devices.serial import Serial
from ..devices.terminal import Terminal
from ..devmodel.exit_path import PAGES, SIGNAL, UPCALL, Bus
from ..devmodel.layout import PAGE
from ..devmodel.virtqueue import RING_ASLEEP, Side
from ..errors import UserError
from ..kvm.addresses import COM1, FIRST_PIN, RESET_VECTOR, SERIAL_PIN, VIRTIO_MMIO
from ..kvm.bpf import BpfUnavailable, Maps
from ..kvm.bus import AddressSpace, BusOverlap
from ..kvm.interrupts import Interrupts
from ..kvm.memory import GuestMemory
from ..kvm.vcpu import VcpuThread
from ..kvm.vm import Vcpu, Vm
from ..offload.bpf_backend import WATCHED, BpfBackend
from ..offload.native import HostBackend
from ..offload.objects import LOADING_ERRORS, OffloadError, unavailable
from ..offload.places import SharedPlaces
from ..pci.pci import PciBus
from ..sync.handoff import Declined
from ..virtio.virtio_device import VirtioDevice
from ..virtio.virtio_mmio import MmioTransport
from ..virtio.virtio_pci import PciTransport
from .config import ConsoleConfig, DiskConfig, MachineConfig, NicConfig, VirtioConfig

log = logging.getLogger("splitvmm.machine")


_live: set[Machine] = set()     # with vCPUs, in this process


class Machine:
    """A VM; a context manager that takes everything down again.

    One process is one VM as soon as offload is on: the exit path knows a VM by its process.
    """

    def __init__(self, config: MachineConfig, devices: tuple[tuple[RegisterDevice, str], ...] = ()):
        """`devices` are further ones, each with its offload mode: of one's own, say."""
        self.config = config
        self.devices: list[RegisterDevice] = []
        self.choices: dict[str, str] = {}       # device -> how its mode came about
        self.status: int | None = None
        self.rebooted = False
        self.first_run_s: float | None = None       # CLOCK_BOOTTIME
        self._error: BaseException | None = None
        self._typed = None      # what takes what is typed at the terminal
        self._closing: list = []
        self._loaded: set[tuple[str, str]] = set()
        self._virtio_mmio: set[int] = set()         # numbers of the virtio-mmio devices
        self._page_slots: dict[int, int] = {}       # device's slot -> KVM's number of its page
        self._parking = threading.Condition()
        self.bpf: BpfBackend | None = None
        self.host: HostBackend | None = None
        self._pause, self._parked, self._running, self._stopped = 0, 0, 0, False
        self.threads: list[VcpuThread] = []
        try:
            self._build(devices)
        except BaseException:
            self.close()
            raise

    # building

    def _build(self, extra) -> None:
        config = self.config
        if config.kvm:
            self._join_process()
        self.vm = self._closes(Vm()) if config.kvm else None
        self._build_memory({device.offload for device in config.virtio} | {mode for _, mode in extra})
        self.interrupts = self._closes(Interrupts(self.vm))
        self.buses = {bus: AddressSpace(bus) for bus in Bus}
        self._add_ports()
        self.pci = PciBus(self.buses)
        self.vcpus = [self._closes(Vcpu(self.vm, i, config.cpus)) for i in range(config.cpus)] if self.vm else []
        for disk in config.disks:
            self._add_disk(disk)
        for net in config.nets:
            self._add_nic(net)
        for console in config.consoles:
            self._add_console(console)
        if config.rng:
            self._add_virtio(self._closes(RngDevice("rng0")), config.rng)
        for device, mode in extra:
            self.add_device(self._closes(device), mode)
        if config.guest:
            self.memory.write(RESET_VECTOR, power.BIOS)
            acpi.write(self.memory, config.cpus, self._virtio_mmio, config.serial != "null")
            entry = boot.load(self.memory, config.guest, self.command_line, config.modules, config.flat)
            boot.start(self.vcpus[0], self.memory, entry)

    def _add_disk(self, disk: DiskConfig) -> None:
        image = DiskImage(disk.path, disk.read_only, disk.cache)
        device = self._closes(BlkDevice(f"disk{len(self.devices)}", image, disk.queues, disk.serial, disk.queue_size))
        self._add_virtio(device, disk)

    def _add_nic(self, net: NicConfig) -> None:
        number = sum(isinstance(device, NetDevice) for device in self.devices)
        mac = net.mac or bytes([0x02, 0x73, 0x76, os.getpid() >> 8 & 0xff, os.getpid() & 0xff, number])
        device = self._closes(NetDevice(f"net{number}", net.plug(), mac, net.queues, net.anti_spoof,
                                        net.packets_per_s, net.bytes_per_s, net.queue_size))
        self._add_virtio(device, net)

    def _add_console(self, console: ConsoleConfig) -> None:
        if console.where == "stdio" and self._typed:
            raise UserError("two consoles on stdio; wanted one, and the others elsewhere (--serial, --console)")
        reader, writer, typed = open_both(console.where, "--console")
        if typed is not None:
            self._closes(Descriptor(typed))
            self._typed = lambda data: os.write(typed, data)
        size = os.get_terminal_size(writer) if os.isatty(writer) else None
        number = sum(isinstance(device, ConsoleDevice) for device in self.devices)
        self._add_virtio(self._closes(ConsoleDevice(f"console{number}", reader, writer, size)), console)

    def terminal_resized(self) -> None:
        """Tell the consoles that lead to a terminal how large it is now."""
        for device in self.devices:
            if isinstance(device, ConsoleDevice):
                device.terminal_resized()

    def _add_virtio(self, device: VirtioDevice, config: VirtioConfig) -> None:
        device.ask_for_ring(config.asynchronous)
        if config.packed:
            device.offer_packed()
        if config.transport == "pci":
            device.transport = PciTransport(device, self.interrupts)
        self.add_device(device, config.offload)

    def _join_process(self) -> None:
        if any(other.bpf and other.bpf.attached for other in _live):
            raise UserError("another VM of this process has offload on; wanted a process for each")
        _live.add(self)

    def _build_memory(self, asked: set[str]) -> None:
        """Guest RAM and what devices share: BPF map memory if any device may be offloaded to the
        kernel, plain shared memory otherwise or where there is no BPF."""
        self.maps, self._no_bpf = self._make_maps(asked)
        try:
            self.memory = self._closes(GuestMemory(self.config.memory, self.maps))
        except BpfUnavailable as error:
            if "on" in asked:
                raise
            self.maps, self._no_bpf = None, unavailable(error)
            self.memory = self._closes(GuestMemory(self.config.memory))
        self.places = self._closes(SharedPlaces(self.maps))
        if self.vm:
            for gpa, size, address in self.memory.slots():
                self.vm.add_memory(gpa, size, address)

    def _closes(self, part):
        self._closing.append(part)
        return part

    def _make_maps(self, asked: set[str]) -> tuple[Maps | None, str]:
        """BPF maps where any device may want them, or None and why not."""
        if not asked & {"on", "auto"}:
            return None, "no device asked for it"
        if not self.vm:
            if "on" in asked:
                raise OffloadError("offload=on needs /dev/kvm, whose exits it is on; wanted host, off or auto")
            return None, "no vCPUs"
        try:
            return self._closes(Maps()), ""
        except BpfUnavailable as error:
            if "on" in asked:
                raise
            return None, unavailable(error)

    def _add_ports(self) -> None:
        output = open_output(self.config.serial, "--serial")
        if output is not None:
            self._closes(Descriptor(output))
        self.serial = Serial(output, self.interrupts.pin_line(SERIAL_PIN))
        self.buses[Bus.PORT].add(COM1, 8, self.serial, "serial port")
        power.add_ports(self.buses[Bus.PORT], self.stop, self.reset)
        if self.config.serial == "stdio":
            self._typed = self.serial.receive

    def add_device(self, device: RegisterDevice, mode: str, base: int | None = None,
                   bus: Bus = Bus.MMIO) -> None:
        """Give a device its place, and its offload mode (off, host, on or auto).  Without `base` that is
        the next one for its transport."""
        slot = len(self.devices)
        if slot >= PAGES:
            raise UserError(f"{slot + 1} devices; wanted at most {PAGES}")
        if isinstance(device, VirtioDevice) and device.transport is None:
            device.transport = MmioTransport()
        pci = isinstance(device, VirtioDevice) and isinstance(device.transport, PciTransport)
        if not pci:
            lines = [self.interrupts.pin_line()]
            number = lines[0].gsi - FIRST_PIN
            if base is None:
                base = VIRTIO_MMIO + number * PAGE
                if isinstance(device, VirtioDevice):
                    self._virtio_mmio.add(number)
        region, fd = self.places.state(device.name, device.layout.state.size)
        urings, urings_fd = self.places.urings(device.name, device.uring_queues)
        device.attach(Place(slot, bus, None if pci else base, self.places.page(slot), self.places.pages_fd,
                            region.address, fd, device.transport.lines if pci else lines, self.memory,
                            urings, urings_fd, (self.places, region)))
        if pci:
            function = device.transport.function
            function.moved = lambda base: self._moved(device, base)
            self.pci.add(function)
        else:
            self.buses[bus].add(base, device.size, device, device.name)
            self._map_page(device)
        self.devices.append(device)
        self._choose(device, mode)

    def _map_page(self, device: RegisterDevice) -> None:
        """Show the register page to the guest as memory."""
        place = device.place
        if self.vm and place.bus is Bus.MMIO and device.registers.page_is_memory:
            self._page_slots[place.slot] = self.vm.add_memory(place.base, PAGE, place.page, read_only=True)

    def _moved(self, device: VirtioDevice, base: int | None) -> None:
        """The guest has moved a device's BAR, or switched it off (None).  On a vCPU's thread; others
        may be ringing its doorbells, and lose them at worst."""
        place = device.place
        with device.lock:
            backend = self._backend(device.mode)
            if place.base is not None:
                if backend:
                    backend.disconnect(device)
                if place.slot in self._page_slots:
                    self.vm.remove_memory(self._page_slots.pop(place.slot))
                self.buses[Bus.MMIO].remove(place.base)
                place.base = None
            if base is None:
                return
            try:
                self.buses[Bus.MMIO].add(base, device.transport.function.bar_bytes, device.transport, device.name)
            except BusOverlap as error:
                log.warning("%s: %s; it stays switched off", device.name, error)
                return
            place.base = base
            self._map_page(device)
            if backend:
                backend.connect(device)

    @property
    def command_line(self) -> str:
        """The guest's, with every virtio-mmio device announced as Linux has it, unless ACPI alone shall."""
        announced = [f"virtio_mmio.device=4K@{d.place.base:#x}:{d.place.lines[0].gsi}"
                     for d in self.devices if self.config.announce and isinstance(d, VirtioDevice)
                     and isinstance(d.transport, MmioTransport)]
        return " ".join(filter(None, [self.config.cmdline, *announced]))

    # offload

    def _choose(self, device: RegisterDevice, mode: str) -> None:
        if mode != "auto":
            self._set_mode(device, mode)
            self.choices[device.name] = f"{mode}, as asked"
            return
        refusals, candidates = [], ["on", "host"]
        if device.uring_queues and len(os.sched_getaffinity(0)) == 1:
            candidates.reverse()
            refusals.append("one CPU only, which a polling thread and the guest would take turns on")
        for candidate in candidates:
            try:
                self._set_mode(device, candidate)
                break
            except LOADING_ERRORS as error:
                refusals.append(f"{candidate} not possible: {unavailable(error)}")
        if device.mode != "off" and device.no_ring and device.asynchronous:
            refusals.append(f"no I/O by the handler itself: {device.no_ring}")
        self.choices[device.name] = "; ".join([f"{device.mode}, the best possible", *refusals])

    def _set_mode(self, device: RegisterDevice, mode: str) -> None:
        """The vCPUs stand still, or do not run yet."""
        if mode not in ("off", "host", "on"):
            raise UserError(f"offload {mode!r}; wanted on, host, off or auto")
        if mode == device.mode:
            return
        backend = self._backend(mode)
        if backend and (device.name, mode) not in self._loaded:
            backend.load(device)
            self._loaded.add((device.name, mode))
        if device.mode != "off":
            self._backend(device.mode).disable(device)
            device.mode = "off"
            device.assign(Side.USER)
            device.stop_urings()
        if backend:
            backend.enable(device)
            device.mode = mode
            device.assign(Side.KERNEL)

    def _backend(self, mode: str):
        if mode == "off":
            return None
        if mode == "host":
            if self.host is None:
                self.host = self._closes(HostBackend(self.memory, self.vm))
                for vcpu in self.vcpus:
                    vcpu.loop.hook = vcpu.ffi.cast("write_hook", self.host.hook)
                    vcpu.loop.path = vcpu.ffi.cast("void *", self.host.context)
            return self.host
        if self.maps is None:
            raise OffloadError(f"BPF: {self._no_bpf}")
        if len(_live) > 1:
            raise OffloadError(f"{len(_live)} VMs in this process; wanted a process for each with offload on")
        if self.bpf is None:
            self.bpf = self._closes(BpfBackend(self.maps, self.memory, self.vm, self.interrupts,
                                               self.config.cpus, self._hand_over))
        return self.bpf

    def set_offload(self, device: RegisterDevice, mode: str) -> None:
        """Switch a device's offload while the guest runs; nothing is lost.

        Called by any thread but a vCPU's.  `on` works if the machine was built with a device
        that was on or auto, as guest memory must be BPF map memory.
        """
        with self.paused():
            self._set_mode(device, mode)

    @contextmanager
    def paused(self, timeout_s: float = 10.0):
        """All vCPUs outside KVM_RUN and waiting, for the block."""
        with self._parking:
            self._pause += 1
            self._kick()
            if not self._parking.wait_for(lambda: self._parked == self._running, timeout_s):
                self._pause -= 1
                self._parking.notify_all()
                raise RuntimeError(f"{self._running - self._parked} vCPUs did not pause in {timeout_s} s")
        try:
            yield
        finally:
            with self._parking:
                self._pause -= 1
                self._parking.notify_all()

    # running; what a vCPU's thread asks of its host

    def on_thread(self, vcpu: Vcpu) -> None:
        if self.maps and self.bpf:
            self.bpf.on_thread(vcpu.index)
        if self.first_run_s is None:
            self.first_run_s = clock_gettime(CLOCK_BOOTTIME)

    def checkpoint(self) -> bool:
        """Where vCPUs wait while the machine is paused; False when it has stopped."""
        if self._pause and not self._stopped:
            with self._parking:
                self._parked += 1
                self._parking.notify_all()
                self._parking.wait_for(lambda: not self._pause or self._stopped)
                self._parked -= 1
        return not self._stopped

    def declined(self, vcpu: Vcpu) -> None:
        """KVM_RUN was interrupted: do what the exit path left to us, in order."""
        if self.bpf is None:
            return
        for access in self.bpf.declined(vcpu.index):
            self._hand_over(access)

    def _hand_over(self, access: Declined) -> None:
        """Do in userspace what the exit path did not."""
        if access.device == WATCHED:
            self.interrupts.update()
        elif access.offset == UPCALL or access.reason == RING_ASLEEP:
            self.devices[access.device].upcalled(access.value, access.reason)
        else:
            self.devices[access.device].write(access.offset, access.width, access.value)

    def failed(self, error: BaseException) -> None:
        self._error = self._error or error
        self.stop(1)

    def ended(self) -> None:
        """A vCPU's thread is through; nobody waits for it any more."""
        with self._parking:
            self._running -= 1
            self._parking.notify_all()

    def reset(self) -> None:
        """The guest wants to be started again: whoever made this machine makes another one."""
        self.rebooted = True
        self.stop(0)

    def stop(self, status: int) -> None:
        """End the guest with this exit status; the first one counts."""
        with self._parking:
            if self.status is None:
                self.status = status
            self._stopped = True
            self._kick()
            self._parking.notify_all()

    def _kick(self) -> None:
        me = threading.get_ident()
        for thread in self.threads:
            if thread.ident != me and thread.thread and thread.is_alive():
                thread.lib.kick_thread(thread.thread, SIGNAL)

    def start(self) -> None:
        """Let the guest run, on threads of its own."""
        if self._typed:
            self._closes(Terminal(self._typed, lambda: self.stop(0))).start()
        if self.maps:       # each thread makes itself known to it as it starts
            with suppress(*LOADING_ERRORS):
                self._backend("on")
        for vcpu in self.vcpus:
            thread = VcpuThread(vcpu, self)
            self.threads.append(thread)
        self._running = len(self.threads)
        for thread in self.threads:
            thread.start()

    def wait(self, timeout_s: float | None = None) -> int:
        """Until the guest ends: its exit status.  Raises what ended a vCPU otherwise."""
        deadline = None if timeout_s is None else monotonic() + timeout_s
        for thread in self.threads:
            while thread.is_alive():
                thread.join(0.2 if deadline is None else max(0, min(0.2, deadline - monotonic())))
                if deadline is not None and monotonic() >= deadline and thread.is_alive():
                    raise TimeoutError(f"the guest still runs after {timeout_s} s")
                if self._stopped:
                    self._kick()
        self.serial.flush()
        if self._error:
            raise self._error
        return self.status or 0

    def run(self, timeout_s: float | None = None) -> int:
        self.start()
        return self.wait(timeout_s)

    # a driver that is no guest

    def guest_write(self, bus: Bus, address: int, width: int, value: int) -> int:
        """A write as a vCPU would do it, by the way of the device's mode; returns the verdict."""
        if self.host:
            verdict, line = self.host.write(bus, address, width, value)
            if verdict == 2:
                self.interrupts.raise_(line)
            if verdict:
                return verdict
        self.buses[bus].write(address, width, value)
        return 0

    def guest_read(self, bus: Bus, address: int, width: int) -> int:
        return self.buses[bus].read(address, width)

    def close(self) -> None:
        if self.threads:
            self.stop(1)
            for thread in self.threads:
                while thread.is_alive():
                    self._kick()
                    thread.join(0.05)
        for device in self.devices:     # what is in flight still reaches guest memory
            with suppress(Exception):   # the first error is the one that counts
                self._set_mode(device, "off")
        if hasattr(self, "serial"):
            self.serial.flush()
        while self._closing:
            self._closing.pop().close()
        _live.discard(self)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_) -> None:
        self.close()
