"""A machine that a BIOS starts: its ROM, and all that it asks for the guest's first program."""

from __future__ import annotations

import struct

from ..boot import acpi
from ..boot.loading import RAM, RESERVED
from ..devmodel.exit_path import Bus
from ..firmware import rom
from ..firmware.cmos import Cmos
from ..firmware.fw_cfg import FwCfg
from ..firmware.keyboard import Keyboard
from ..firmware.pm1 import Pm1Control, Pm1Event
from ..firmware.ports import DebugConsole, SystemControl
from ..kvm.addresses import (
    CMOS,
    COM1,
    DEBUG_CONSOLE,
    ECAM,
    ECAM_BYTES,
    FW_CFG,
    HIGH_START,
    I8042,
    I8042_DATA,
    KEYBOARD_PIN,
    PM1_CONTROL,
    PM1_EVENT,
    SYSTEM_CONTROL,
)

FSEG, ALLOCATE = 2, 1       # of SeaBIOS's table loader (QEMU's hw/acpi/bios-linker-loader.c): a zone, a command


def add_ports(machine) -> None:
    """Those of a PC that have no other part in the machine."""
    ports, config = machine.buses[Bus.PORT], machine.config
    machine.fw_cfg = FwCfg(config.cpus)
    machine.keyboard = Keyboard(machine.reset, machine.interrupts.pin_line(KEYBOARD_PIN))
    machine.keyboard.type(config.keys)
    ports.add(FW_CFG, 2, machine.fw_cfg, "fw_cfg")
    ports.add(I8042_DATA, 1, machine.keyboard.port(0), "keyboard controller's data")
    ports.add(I8042, 1, machine.keyboard.port(I8042 - I8042_DATA), "keyboard controller")
    ports.add(CMOS, 2, Cmos(tables_at(machine.memory), config.cpus), "CMOS")
    ports.add(DEBUG_CONSOLE, 1, DebugConsole(), "debug console")
    ports.add(PM1_EVENT, acpi.PM1_EVENT_BYTES, Pm1Event(), "PM1 events")
    ports.add(PM1_CONTROL, acpi.PM1_CONTROL_BYTES, Pm1Control(machine.stop), "PM1 control")
    ports.add(SYSTEM_CONTROL, 1, SystemControl(machine.reset), "system control port")


def tables_at(memory) -> int:
    """Where ACPI's tables lie: at the end of low RAM, as the BIOS has the place where a guest would look itself."""
    return memory.low - acpi.AREA_BYTES


def load(machine, announced) -> None:
    """The ROM, and what fw_cfg tells.  Raises UserError."""
    config, memory, fw_cfg = machine.config, machine.memory, machine.fw_cfg
    machine.closes(rom.place(machine.vm, memory, rom.read(rom.find(config.firmware))))
    root = acpi.write(memory, config.cpus, machine.placing.virtio_mmio, config.serial != "null", announced,
                      tables_at(memory), acpi.KEYBOARD | (0 if machine.vga else acpi.NO_VGA))
    fw_cfg.add_file("etc/e820", memory_map(memory))
    fw_cfg.add_file("etc/acpi/rsdp", root)
    fw_cfg.add_file("etc/table-loader", struct.pack("<I56sIB63x", ALLOCATE, b"etc/acpi/rsdp", 16, FSEG))
    fw_cfg.add_number("etc/show-boot-menu", 0)
    if machine.vga:
        function = machine.vga.function.header
        fw_cfg.add_file(f"pci{function.vendor_id:04x},{function.device_id:04x}.rom", rom.read_vga())
    else:
        fw_cfg.add_number("etc/sercon-port", COM1)


def memory_map(memory) -> bytes:
    """E820's entries as QEMU has them: address, bytes, type.  RAM below 1 MiB is all there; SeaBIOS takes from it what
    is not."""
    tables = tables_at(memory)
    ranges = [(0, tables, RAM), (tables, acpi.AREA_BYTES, RESERVED), (ECAM, ECAM_BYTES, RESERVED)]
    if memory.size > memory.low:
        ranges.append((HIGH_START, memory.size - memory.low, RAM))
    return b"".join(struct.pack("<QQI", *entry) for entry in ranges)
