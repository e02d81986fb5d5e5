"""A machine put together, part by part, as its configuration says; the only file that knows every part.

What few machines have is imported where it is put in: every import is a part of the time that a guest takes to start.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..boot import acpi, boot, mptable, power
from ..device.register_device import RegisterDevice
from ..devices.blk import BlkDevice
from ..devices.disk_image import DiskImage
from ..devices.endpoints import Descriptor, open_both, open_output
from ..devices.output import Output
from ..devices.serial import Serial
from ..devices.terminal import Sink
from ..devmodel.exit_path import Bus
from ..errors import UserError
from ..kvm.addresses import COM1, POWER_PIN, RESET_VECTOR, SERIAL_PIN, VGA_WINDOW, VGA_WINDOW_END
from ..offload.places import SharedPlaces
from ..virtio.virtio_device import VirtioDevice
from ..virtio.virtio_mmio import MmioTransport
from .config import ConsoleConfig, DeviceConfig, DiskConfig, NicConfig, VirtioConfig
from .offloading import Offloading
from .ram import Ram

if TYPE_CHECKING:
    from ..boot.ssdt import Announced


def build_memory(machine, asked: set[str]) -> None:
    """Guest RAM and what devices share."""
    ram = machine.closes(machine.ahead.ram(asked) or
                         Ram(machine.config.memory, asked,
                             machine.vm is not None and machine.config.executor.name != "emulator",
                             machine.config.hugepages))
    machine.memory, maps = ram.memory, ram.maps
    machine.places = machine.closes(SharedPlaces(maps))
    if machine.config.record:
        from ..offload.recording import Recording
        machine.recording = machine.closes(Recording(machine.config.record.path, machine.config.record.most_bytes,
                                                     maps, machine.config.fresh, machine.running.failed))
    machine.offloading = Offloading(machine, maps, ram.no_bpf)
    if machine.vm:
        for gpa, size, address in _ram_slots(machine):
            machine.vm.add_memory(gpa, size, address)


def _ram_slots(machine) -> Iterator[tuple[int, int, int]]:
    """As GuestMemory has them, but for what a VGA has of them."""
    (gpa, size, address), *high = machine.memory.slots()
    if machine.config.vga == "none":
        yield gpa, size, address
    else:
        yield gpa, VGA_WINDOW, address
        yield VGA_WINDOW_END, size - VGA_WINDOW_END, address + VGA_WINDOW_END
    yield from high


def add_ports(machine) -> None:
    """The serial port, and those by which a guest ends."""
    output, fd = None, open_output(machine.config.serial, "--serial", machine.config.fresh)
    if fd is not None:
        output = machine.closes(Output(fd, "serial port", lambda: machine.running.stopped))
        machine.running.on_abort.append(output.hurry)
    machine.serial = machine.closes(Serial(output, machine.interrupts.pin_line(SERIAL_PIN)))
    machine.buses[Bus.PORT].add(COM1, 8, machine.serial, "serial port")
    machine.power_button = machine.interrupts.pin_line(POWER_PIN)
    power.add_ports(machine.buses[Bus.PORT], machine.stop, machine.reset, machine.panic)
    if machine.config.firmware:
        from . import firmware
        firmware.add_ports(machine)
    else:
        power.add_reset_pulse(machine.buses[Bus.PORT], machine.reset)
    _add_machine_ports(machine)
    if machine.config.serial == "stdio":
        machine.typed = Sink(machine.serial.room, select.POLLIN, machine.serial.receive)


def _add_machine_ports(machine) -> None:
    if machine.config.machine_ports:
        from ..devices import testdev
        testdev.add(machine.buses, machine.interrupts, machine.stop)
        if machine.vm:
            machine.vm.leave_pics(testdev.PIC_MASKS)


def serve_serial(machine) -> None:
    """KVM's vCPUs reach the serial port without Python."""
    if machine.config.has_exits:
        for vcpu in machine.vcpus:
            machine.serial.serve(vcpu, COM1)


def add_devices(machine, extra) -> None:
    """Those of the configuration, in its order, then further ones: (device, offload mode)."""
    config = machine.config
    _refuse_twins(config)
    for disk in config.disks:
        _add_disk(machine, disk)
    for net in config.nets:
        _add_nic(machine, net)
    for console in config.consoles:
        _add_console(machine, console)
    if config.rng:
        from ..devices.rng import RngDevice
        _add_virtio(machine, machine.closes(RngDevice("rng0")), config.rng)
    for given in config.devices:
        _add_other(machine, machine.closes(given.make()), given)
    if config.vga != "none":
        from ..vga.vga import Vga
        machine.vga = machine.closes(Vga(machine.vm, machine.memory, machine.buses, machine.pci))
    for device, _ in extra:     # all of them, whichever is refused
        machine.closes(device)
    for device, mode in extra:
        machine.add_device(device, mode)


def _add_other(machine, device: RegisterDevice, config: DeviceConfig) -> None:
    if isinstance(device, VirtioDevice):
        _add_virtio(machine, device, config)
        return
    if config.bus not in ("mmio", "port"):
        raise UserError(f"bus {config.bus!r}; wanted mmio or port")
    machine.add_device(device, config.offload, config.base, Bus[config.bus.upper()])


def _refuse_twins(config) -> None:
    """What two devices of one machine cannot share.  Raises UserError."""
    disks: dict = {}
    for disk in config.disks:
        with suppress(OSError):     # which is told when it is opened
            status = os.stat(disk.path)
            key = status.st_rdev if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)
            first = disks.setdefault(key, disk)
            if first is not disk and not (first.read_only and disk.read_only):
                raise UserError(f"--disk {disk.path}: given twice; wanted it once, or with readonly=on each time")
    taps: set[str] = set()
    for net in config.nets:
        for tap in [f"tap={net.tap}"] if net.tap else [f"fd={fd}" for fd in net.fds or ()]:
            if tap in taps:
                raise UserError(f"--net {tap}: given twice; wanted a TAP interface for each card and queue")
            taps.add(tap)


@contextmanager
def closed_if_refused(opened) -> Iterator[None]:
    """What a device would close, if it is not made in the block."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def _add_disk(machine, disk: DiskConfig) -> None:
    image = DiskImage(disk.path, disk.read_only, disk.cache, disk.raw)
    with closed_if_refused(image):
        device = machine.closes(BlkDevice(f"disk{len(machine.devices)}", image, disk.queues, disk.serial,
                                          disk.queue_size))
    _add_virtio(machine, device, disk)


def _add_nic(machine, net: NicConfig) -> None:
    from ..devices.net import NetDevice
    number = sum(isinstance(device, NetDevice) for device in machine.devices)
    backend = net.plug()
    with closed_if_refused(backend):
        device = machine.closes(NetDevice(f"net{number}", backend, net.mac, net.queues, net.anti_spoof,
                                          net.packets_per_s, net.bytes_per_s, net.queue_size))
    _add_virtio(machine, device, net)


def _add_console(machine, console: ConsoleConfig) -> None:
    from ..devices.console import ConsoleDevice
    if console.where == "stdio" and machine.typed:
        raise UserError("two consoles on stdio; wanted one, and the others elsewhere (--serial, --console)")
    reader, writer, typed = open_both(console.where, "--console", machine.config.fresh)
    if typed is not None:
        machine.closes(Descriptor(typed))
        machine.typed = Sink(typed, select.POLLOUT, lambda data: _fill(typed, data))
    size = os.get_terminal_size(writer) if os.isatty(writer) else None
    number = sum(isinstance(device, ConsoleDevice) for device in machine.devices)
    _add_virtio(machine, machine.closes(ConsoleDevice(f"console{number}", reader, writer, size)), console)


def _fill(pipe: int, data: bytes) -> int:
    """As many bytes as a pipe takes at once."""
    try:
        return os.write(pipe, data[:select.PIPE_BUF])
    except BlockingIOError:
        return 0


def _add_virtio(machine, device: VirtioDevice, config: VirtioConfig) -> None:
    device.ask_for_ring(config.asynchronous)
    device.ask_for_polling(config.poll, config.idle_us)
    if config.packed:
        device.offer_packed()
    if config.transport == "pci":
        from ..virtio.virtio_pci import PciTransport
        device.transport = PciTransport(device, machine.interrupts)
    machine.add_device(device, config.offload)


def load_guest(machine) -> None:
    """The guest's file, firmware's tables, and the first vCPU's registers; or a BIOS, which loads the guest itself."""
    config, memory = machine.config, machine.memory
    if config.firmware:
        from . import firmware
        firmware.load(machine, announced(machine.devices))
        return
    memory.write(RESET_VECTOR, power.BIOS)
    acpi.write(memory, config.cpus, machine.placing.virtio_mmio, config.serial != "null", announced(machine.devices))
    mptable.write(memory, config.cpus)
    modules, what = ([config.initrd], "initrd") if config.initrd else (config.modules, "module")
    entry = boot.load(memory, config.guest, command_line(machine), modules, config.flat, what)
    boot.start(machine.vcpus[0], memory, entry)


def command_line(machine) -> str:
    """The guest's, with its devices announced unless ACPI alone shall: virtio-mmio ones as Linux has it,
    `adder.base=0xd0000000 adder.pin=5` those that are not virtio."""
    told = [word for device in machine.devices if machine.config.announce for word in _words(device)]
    return " ".join(filter(None, [machine.config.cmdline, *told]))


def _words(device: RegisterDevice) -> list[str]:
    base, pin = device.place.base, device.place.lines[0].gsi
    if not isinstance(device, VirtioDevice):
        return [f"{device.name}.base={base:#x}", f"{device.name}.pin={pin}"]
    return [f"virtio_mmio.device=4K@{base:#x}:{pin}"] if isinstance(device.transport, MmioTransport) else []


def announced(devices: list[RegisterDevice]) -> list[Announced]:
    """Those whose schema has a name for them, where a guest reaches them as memory."""
    found = [device for device in devices if (device.layout.acpi or device.layout.compatible)
             and device.place.bus is Bus.MMIO]
    if not found:
        return []
    from ..boot.ssdt import Announced
    return [Announced(device.layout.acpi, device.layout.compatible, _windows(device), device.line().gsi)
            for device in found]


def _windows(device: RegisterDevice) -> list[tuple[int, int]]:
    """Guest-physical address and bytes of all that a device has there."""
    return [(device.place.base, device.layout.register_bytes),
            *((device.place.base + item.offset, item.size) for item in device.layout.memories.values())]
