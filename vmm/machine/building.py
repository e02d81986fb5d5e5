"""A machine put together, part by part, as its configuration says; the only file that knows every part."""

from __future__ import annotations

import os

from ..boot import acpi, boot, mptable, power
from ..devices.blk import BlkDevice
from ..devices.console import ConsoleDevice
from ..devices.disk_image import DiskImage
from ..devices.endpoints import Descriptor, open_both, open_output
from ..devices.net import NetDevice
from ..devices.rng import RngDevice
from ..devices.serial import Serial
from ..devmodel.exit_path import Bus
from ..errors import UserError
from ..kvm.addresses import COM1, RESET_VECTOR, SERIAL_PIN
from ..kvm.bpf import BpfUnavailable
from ..kvm.memory import GuestMemory
from ..offload.objects import unavailable
from ..offload.places import SharedPlaces
from ..virtio.virtio_device import VirtioDevice
from ..virtio.virtio_pci import PciTransport
from .config import ConsoleConfig, DiskConfig, NicConfig, VirtioConfig
from .offloading import Offloading, make_maps


def build_memory(machine, asked: set[str]) -> None:
    """Guest RAM and what devices share: BPF map memory if any device may be offloaded to the
    kernel, plain shared memory otherwise or where there is no BPF."""
    maps, no_bpf = make_maps(asked, machine.vm is not None)
    if maps:
        machine.closes(maps)
    try:
        machine.memory = machine.closes(GuestMemory(machine.config.memory, maps))
    except BpfUnavailable as error:
        if "on" in asked:
            raise
        maps, no_bpf = None, unavailable(error)
        machine.memory = machine.closes(GuestMemory(machine.config.memory))
    machine.places = machine.closes(SharedPlaces(maps))
    machine.offloading = Offloading(machine, maps, no_bpf)
    if machine.vm:
        for gpa, size, address in machine.memory.slots():
            machine.vm.add_memory(gpa, size, address)


def add_ports(machine) -> None:
    """The serial port, and those by which a guest ends."""
    output = open_output(machine.config.serial, "--serial")
    if output is not None:
        machine.closes(Descriptor(output))
    machine.serial = Serial(output, machine.interrupts.pin_line(SERIAL_PIN))
    machine.buses[Bus.PORT].add(COM1, 8, machine.serial, "serial port")
    power.add_ports(machine.buses[Bus.PORT], machine.stop, machine.reset, machine.panic)
    if machine.config.serial == "stdio":
        machine.typed = machine.serial.receive


def add_devices(machine, extra) -> None:
    """Those of the configuration, in its order, then further ones: (device, offload mode)."""
    config = machine.config
    for disk in config.disks:
        _add_disk(machine, disk)
    for net in config.nets:
        _add_nic(machine, net)
    for console in config.consoles:
        _add_console(machine, console)
    if config.rng:
        _add_virtio(machine, machine.closes(RngDevice("rng0")), config.rng)
    for device, mode in extra:
        machine.add_device(machine.closes(device), mode)


def _add_disk(machine, disk: DiskConfig) -> None:
    image = DiskImage(disk.path, disk.read_only, disk.cache)
    device = machine.closes(BlkDevice(f"disk{len(machine.devices)}", image, disk.queues, disk.serial,
                                      disk.queue_size))
    _add_virtio(machine, device, disk)


def _add_nic(machine, net: NicConfig) -> None:
    number = sum(isinstance(device, NetDevice) for device in machine.devices)
    mac = net.mac or bytes([0x02, 0x73, 0x76, os.getpid() >> 8 & 0xff, os.getpid() & 0xff, number])
    device = machine.closes(NetDevice(f"net{number}", net.plug(), mac, net.queues, net.anti_spoof,
                                      net.packets_per_s, net.bytes_per_s, net.queue_size))
    _add_virtio(machine, device, net)


def _add_console(machine, console: ConsoleConfig) -> None:
    if console.where == "stdio" and machine.typed:
        raise UserError("two consoles on stdio; wanted one, and the others elsewhere (--serial, --console)")
    reader, writer, typed = open_both(console.where, "--console")
    if typed is not None:
        machine.closes(Descriptor(typed))
        machine.typed = lambda data: os.write(typed, data)
    size = os.get_terminal_size(writer) if os.isatty(writer) else None
    number = sum(isinstance(device, ConsoleDevice) for device in machine.devices)
    _add_virtio(machine, machine.closes(ConsoleDevice(f"console{number}", reader, writer, size)), console)


def _add_virtio(machine, device: VirtioDevice, config: VirtioConfig) -> None:
    device.ask_for_ring(config.asynchronous)
    if config.packed:
        device.offer_packed()
    if config.transport == "pci":
        device.transport = PciTransport(device, machine.interrupts)
    machine.add_device(device, config.offload)


def load_guest(machine) -> None:
    """The guest's file, firmware's tables, and the first vCPU's registers."""
    config, memory = machine.config, machine.memory
    memory.write(RESET_VECTOR, power.BIOS)
    acpi.write(memory, config.cpus, machine.virtio_mmio, config.serial != "null")
    mptable.write(memory, config.cpus)
    modules, what = ([config.initrd], "initrd") if config.initrd else (config.modules, "module")
    entry = boot.load(memory, config.guest, machine.command_line, modules, config.flat, what)
    boot.start(machine.vcpus[0], memory, entry)
