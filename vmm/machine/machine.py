"""A whole VM: its parts, the guest's accesses that reach userspace, and its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import CLOCK_BOOTTIME, clock_gettime

from ..device.register_device import RegisterDevice
from ..device.timers import Timers
from ..devices.terminal import Sink, Terminal
from ..devmodel.exit_path import RAISE, UPCALL, Bus
from ..devmodel.recording import EventKind
from ..devmodel.virtqueue import BUDGET, RING_ASLEEP
from ..errors import UserError
from ..kvm import lapic
from ..kvm.bus import AddressSpace
from ..kvm.interrupts import MASKED, Interrupts
from ..kvm.memory import GuestMemory
from ..kvm.vm import Vcpu, Vm
from ..offload.bpf_backend import WATCHED
from ..pci.pci import PciBus
from ..sync.handoff import Declined
from ..sync.signals import uninterrupted
from ..timeline import span
from . import building, executing, inventory, process
from .ahead import Ahead
from .config import MachineConfig
from .offloading import Offloading
from .placing import Placing
from .published import Published
from .running import Running

log = logging.getLogger("splitvmm.machine")

NO_EMULATION = "KVM has no emulation of the instruction at rip; an emulator may (--executor auto)"


class Machine:
    """A VM; a context manager that takes everything down again.  Of its life, signals whose handlers raise
    interrupt `wait` alone.

    One process is one VM as soon as offload is on: the exit path knows a VM by its process.
    """

    memory: GuestMemory
    offloading: Offloading

    def __init__(self, config: MachineConfig, devices: tuple[tuple[RegisterDevice, str], ...] = (),
                 ahead: Ahead | None = None):
        """`devices` are further ones, each with its offload mode: of one's own, say.  `ahead` has what of it was begun
        already."""
        self.config, self.ahead = config, ahead or Ahead()
        self.devices: list[RegisterDevice] = []
        self.running = Running()
        self._switching = threading.Lock()      # one device at a time: they share the backends
        self.closed = False                     # from when on nothing is switched, written or started any more
        self.rebooted = self.panicked = False
        self.first_run_s: float | None = None       # CLOCK_BOOTTIME
        self.typed: Sink | None = None              # of what is typed at the terminal
        self.terminal: Terminal | None = None
        self.published = Published(self)
        self.placing = Placing(self)
        self.vga = self.keyboard = None     # vmm.vga.vga.Vga, vmm.firmware.keyboard.Keyboard
        self.recording = None       # of what its devices do (vmm/offload/recording.py)
        self.vcpus: list[Vcpu] = []
        self.partial: list = []     # what runs on beside KVM, of each vCPU
        self.beside: list = []      # an emulator for the whole state of each vCPU
        self._closing: list = []
        try:
            with uninterrupted():
                self._build(devices)
            inventory.tell(self)
        except BaseException:
            self.close()
            raise

    def _build(self, extra) -> None:
        config = self.config
        config.check()
        if config.kvm:
            process.join(self)
        self.vm = self._make_vm()
        building.build_memory(self, config.modes | {mode for _, mode in extra})
        self.interrupts = self.closes(Interrupts(self.vm))
        self.buses = {bus: AddressSpace(bus) for bus in Bus}
        self.timers = self.closes(Timers())
        building.add_ports(self)
        if config.kvm and not config.has_exits:
            self.vm.add_chips(*(self.buses[bus] for bus in (Bus.PORT, Bus.MMIO)), self.interrupts.update)
        self.pci = PciBus(self.buses, config.firmware is not None, self.reset)
        if config.kvm:
            self.vcpus = [self.closes(executing.vcpu(self, i)) for i in range(config.cpus)]
            building.serve_serial(self)
            lapic.leave_as_firmware(self.vcpus)
        with span("devices"):
            building.add_devices(self, extra)
        if config.guest or config.firmware:
            with span("guest loaded"):
                building.load_guest(self)
        with span("handlers waited for"):
            self.offloading.choose_all()
        executing.begin(self)
        if config.kvm:
            self.closes(self.published).begin()     # the first to be closed: the memory that it tells of goes later

    def _make_vm(self) -> Vm | None:
        """What the kernel has of this machine, or stands for it."""
        if not self.config.kvm:
            return None
        if not self.config.has_exits:
            return self.closes(executing.emulated_vm(self.config.cpus))
        with span("KVM's VM"):
            return self.closes(Vm())

    def closes(self, part):
        """`part`, which is closed when the machine is: the last one first."""
        self._closing.append(part)
        return part

    # devices

    def add_device(self, device: RegisterDevice, mode: str, base: int | None = None,
                   bus: Bus = Bus.MMIO) -> None:
        """Give a device its place, and its offload mode (off, host, on or auto).  Without `base` that is
        the next one for its transport."""
        self.placing.place(device, base, bus)
        self.devices.append(device)
        self.offloading.add(device, mode)
        self.published.update()

    def terminal_resized(self) -> None:
        """Tell the consoles that lead to a terminal how large it is now."""
        for device in self.devices:
            if resized := getattr(device, "terminal_resized", None):    # a console
                resized()

    # offload

    @property
    def bpf(self):
        """The backend of `on`, if there ever was a need for it."""
        return self.offloading.bpf if hasattr(self, "offloading") else None

    @property
    def choices(self) -> dict[str, str]:
        """Device -> how its offload mode came about."""
        return self.offloading.choices

    def name_of(self, slot: int) -> str:
        """The device in a slot of the exit path's."""
        return self.devices[slot].name if slot < len(self.devices) else f"device {slot}"

    def set_offload(self, device: RegisterDevice, mode: str) -> None:
        """Switch a device's offload while the guest runs; nothing is lost.

        Called by any thread but a vCPU's.  `on` works if the machine was built with a device
        that was on or auto, as guest memory must be BPF map memory.
        """
        for ownership in device.ownerships():
            if ownership.held_here():
                raise UserError(f"{device.name}: offload {mode} while this thread holds it, as in an on_write_ or a "
                                "timer's callback; wanted another thread")
        with uninterrupted(), self._switching, self.paused():
            self._check_open()
            before = device.mode
            try:
                self.offloading.set_mode(device, mode)
            finally:
                self.published.update()
        if device.mode != before:
            log.info("%s: offload %s, was %s", device.name, device.mode, before)

    @contextmanager
    def unless_switching(self) -> Iterator[bool]:
        """For the block no device changes hands, and the machine is not closed; False if that cannot be had at once."""
        if not self._switching.acquire(blocking=False):
            yield False
            return
        try:
            yield not self.closed
        finally:
            self._switching.release()

    def _check_open(self) -> None:
        if self.closed:
            raise UserError("the machine is closed; wanted one that is not")

    # what a vCPU's thread asks of its host

    def on_thread(self, vcpu: Vcpu) -> None:
        if self.bpf:
            self.bpf.on_thread(vcpu.index)
            vcpu.follow(*self.bpf.outbox(vcpu.index))
        if self.recording:
            self.recording.ring.record(EventKind.VCPU, 0, value=vcpu.index)
        if self.first_run_s is None:
            self.first_run_s = clock_gettime(CLOCK_BOOTTIME)

    def declined(self, vcpu: Vcpu) -> None:
        """KVM_RUN was interrupted: do what the exit path left to us, in order; and what was asked of an emulator."""
        for access in self.bpf.declined(vcpu.index) if self.bpf else ():
            self.hand_over(access)
        if not self.beside:
            return
        if vcpu.loop.waiting:       # an exit, to be answered before KVM is entered: when that is done
            self.running.kick(vcpu.index)
        else:
            self.beside[vcpu.index].run_asked()

    def refused(self, vcpu: Vcpu) -> str | None:
        """KVM has no emulation of an instruction: None if the emulator has done it, else what there is to say."""
        return self.beside[vcpu.index].do() if self.beside else NO_EMULATION

    def hand_over(self, access: Declined) -> None:
        """Do in userspace what the exit path did not."""
        if access.device == WATCHED:
            self.interrupts.update()
            return
        device = self.devices[access.device]
        if access.width == RAISE:
            device.handled_interrupt(access.value)
        elif access.width == UPCALL or self.only_tells(access):
            device.upcalled(access.value, access.reason)
        else:
            device.write(access.offset, access.width, access.value)

    def called(self, access: Declined) -> None:
        """The kernel half calls where no vCPU is at hand: as a vCPU's loop does (kvm_run.c), with the native build
        first."""
        if not self.offloading.assist(access):
            self.hand_over(access)

    def only_tells(self, access: Declined) -> bool:
        """Whether the kernel half has done with a doorbell what there was to do, and only has something to say."""
        return access.reason in (RING_ASLEEP, BUDGET) and bool(self.devices[access.device].queue_count)

    # running

    @property
    def threads(self) -> list:
        return self.running.threads

    @property
    def status(self) -> int | None:
        """The exit status, once there is one."""
        return self.running.status

    def paused(self):
        """All vCPUs outside KVM_RUN and waiting, for the block."""
        return self.running.paused()

    def reset(self) -> None:
        """The guest wants to be started again: whoever made this machine makes another one."""
        self.rebooted = True
        self.stop(0)

    def panic(self, status: int) -> None:
        """The guest's kernel says that it panicked."""
        self.panicked = True
        self.stop(status)

    def stop(self, status: int) -> None:
        """End the guest with this exit status; the first one counts."""
        self.running.stop(status)

    def abort(self, status: int) -> None:
        """`stop`, without waiting for those who read what the guest says."""
        self.running.abort(status)

    def emulate(self, index: int, blocks: int) -> None:
        """Any thread: have a vCPU run on in the emulator for up to so many basic blocks, from wherever it is, and be
        KVM's again.  Raises UserError without --executor auto."""
        if not self.beside:
            raise UserError("no emulator beside KVM; wanted --executor auto, or ExecutorConfig('auto')")
        self.beside[index].ask(blocks)
        self.running.kick(index)

    def press_power_button(self) -> bool:
        """Ask the guest to power off; whether it listens: it has that interrupt unmasked, as a driver of the
        button in the ACPI tables does."""
        if not self.vm or self.running.stopped or self.vm.ioapic_pins()[self.power_button.gsi] & MASKED:
            return False
        self.power_button.pulse()
        return True

    def start(self) -> None:
        """Let the guest run, on threads of its own.  Raises UserError."""
        self._check_open()
        with uninterrupted():
            if self.typed:
                self.terminal = self.closes(Terminal(self.typed, lambda: self.stop(0), self.running.failed))
                self.terminal.start()
            self.offloading.before_start()
            self.running.start(self.vcpus, self, executing.kind_of_thread(self.config))

    def wait(self, timeout_s: float | None = None) -> int:
        """Until the guest ends: its exit status.  Raises what ended a vCPU otherwise."""
        try:
            status = self.running.wait(timeout_s)
        finally:
            if self.running.stopped:
                self.serial.flush()
        log.info("the guest %s", "wants to start again" if self.rebooted else f"ended with status {status}")
        return status

    def run(self, timeout_s: float | None = None) -> int:
        self.start()
        return self.wait(timeout_s)

    # a driver that is no guest

    def guest_write(self, bus: Bus, address: int, width: int, value: int) -> int:
        """A write as a vCPU would do it, by the way of the device's mode; returns the verdict.  Raises UserError."""
        self._check_open()
        host = self.offloading.host
        if host:
            verdict, line = host.write(bus, address, width, value)
            if self.offloading.done(verdict, line):
                return verdict
        self.buses[bus].write(address, width, value)
        return 0

    def guest_read(self, bus: Bus, address: int, width: int) -> int:
        self._check_open()
        return self.buses[bus].read(address, width)

    def interrupts_of(self, gsi: int) -> int:
        """How many interrupts a machine without KVM has raised."""
        return self.interrupts.counted(gsi)

    def close(self) -> None:
        """Take everything down, whatever fails on the way; raises the first of what did, at the end."""
        failures = []
        with uninterrupted():
            with self._switching:
                self.closed = True
            self.running.end()
            if hasattr(self, "timers"):
                self.timers.close()         # none goes off in a device that is being closed
            for device in self.devices:     # what is in flight still reaches guest memory
                with suppress(Exception):   # the first error is the one that counts
                    self.offloading.set_mode(device, "off")
            while self._closing:
                try:
                    self._closing.pop().close()
                except Exception as error:
                    failures.append(error)
            process.leave(self)
        if failures:
            raise failures[0]

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_) -> None:
        self.close()
