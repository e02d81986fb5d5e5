"""A PCI bus without bridges: configuration space through two ports and through ECAM, and
endpoints with one memory BAR each (PCI Local Bus 3.0; PCI Express 4.0, 7.2.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..devmodel.devices.pci import CONFIG_BYTES, MEMORY_32, MEMORY_64, PciHeader
from ..devmodel.exit_path import Bus
from ..devmodel.layout import BlockLayout, layout_block
from ..devmodel.view import ffi, view_of
from ..errors import UserError
from ..kvm.addresses import (
    ECAM,
    ECAM_BYTES,
    PCI_ADDRESS,
    PCI_DATA,
    PCI_FIRMWARE,
    PCI_FIRMWARE_BYTES,
    PCI_HIGH,
    PCI_HIGH_BYTES,
    PCI_LOW,
    PCI_LOW_BYTES,
)
from ..kvm.bus import AddressSpace

DEVICES = 32                    # on the bus, the host bridge among them
HOST_BRIDGE = (0x1b36, 0x0008)  # a generic one's vendor and device, without registers of its own
BRIDGE_CLASS = 0x06
PORTS, MEMORY, MASTER = 1 << 0, 1 << 1, 1 << 2      # command register
COMMAND, BAR0 = 0x04, 0x10
FIRST_CAPABILITY = 0x40
RESET_CONTROL, RESET_CPU = 1, 1 << 2      # behind PCI_ADDRESS (Intel PIIX3 data sheet, "Reset Control Register")
WINDOWS = ((PCI_LOW, PCI_LOW_BYTES), (PCI_FIRMWARE, PCI_FIRMWARE_BYTES), (PCI_HIGH, PCI_HIGH_BYTES))
QEMU = (0x1af4, 0x1100)         # a host bridge's subsystem, by which SeaBIOS knows that there is fw_cfg


def _block(layout: BlockLayout, buffer: bytearray, at: int, **fields: int):
    """A view of a struct inside a buffer, filled in."""
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(buffer))) + at
    view = view_of(layout)(address, buffer)
    for name, value in fields.items():
        setattr(view, name, value)
    return view


class PciFunction:
    """Configuration space of one endpoint.

    A bit that the guest may not write is not in `_writable`.  `moved(base)` is told where the
    guest has the BAR now, None where it is nowhere, on the thread of the vCPU that moved it.
    """

    def __init__(self, name: str, vendor: int, device: int, base_class: int, subclass: int = 0,
                 bar_bytes: int = 0, revision: int = 0, subsystem: tuple[int, int] = (0, 0), bar_is_64: bool = True,
                 ports: bool = False):
        """With `ports` there are some at fixed places, which the guest may say that it wants."""
        self.name, self.bar_bytes, self.base = name, bar_bytes, None
        self.number = 0         # on the bus
        self.moved: Callable[[int | None], None] = lambda base: None
        self.space = bytearray(CONFIG_BYTES)
        self._writable = bytearray(CONFIG_BYTES)
        self._hooks: list[tuple[int, int, object]] = []     # (start, end, what is told of accesses)
        self._end = FIRST_CAPABILITY
        self.header = _block(layout_block(PciHeader), self.space, 0, vendor_id=vendor, device_id=device,
                             revision=revision, base_class=base_class, subclass=subclass,
                             subsystem_vendor=subsystem[0], subsystem=subsystem[1])
        self.allow(0x3c, b"\xff")       # interrupt line
        if bar_bytes:
            self.header.bar[0] = MEMORY_64 if bar_is_64 else MEMORY_32
            self.allow(COMMAND, bytes([MEMORY | MASTER | (PORTS if ports else 0), 0x04]))
            self.allow(BAR0, (-bar_bytes & 0xffffffff_fffffff0).to_bytes(8, "little")[:8 if bar_is_64 else 4])

    def allow(self, at: int, bits: bytes) -> None:
        """The guest may write these bits."""
        self._writable[at:at + len(bits)] = bits

    def hook(self, at: int, length: int, listener) -> None:
        """Have `listener.config_read()` called before the guest reads this part, and
        `config_written()` after it wrote to it."""
        self._hooks.append((at, at + length, listener))

    def add_capability(self, block: type, **fields: int) -> int:
        """Append a capability, whose block starts with `id` and `next`; returns where it lies."""
        layout, at = layout_block(block), self._end
        assert at + layout.size <= CONFIG_BYTES
        _block(layout, self.space, at, next=self.header.capabilities, **fields)
        self.header.capabilities, self.header.status_capabilities = at, 1
        self._end = at + (layout.size + 3 & ~3)
        return at

    def read(self, offset: int, width: int) -> int:
        for start, end, listener in self._hooks:
            if offset < end and offset + width > start:
                listener.config_read()
        return int.from_bytes(self.space[offset:offset + width], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        for i, byte in enumerate(value.to_bytes(8, "little")[:width]):
            mask = self._writable[offset + i]
            self.space[offset + i] = self.space[offset + i] & ~mask | byte & mask
        for start, end, listener in self._hooks:
            if offset < end and offset + width > start:
                listener.config_written()
        self.place()

    def place(self) -> None:
        """Have the BAR where configuration space says, if that is a place for one."""
        wanted = self.header.bar[0] & ~0xf | self.header.bar[1] << 32
        fits = any(start <= wanted and wanted + self.bar_bytes <= start + size for start, size in WINDOWS)
        base = wanted if self.bar_bytes and self.header.command & MEMORY and fits else None
        if base != self.base:
            self.base = base
            self.moved(base)

    def assign(self, base: int) -> None:
        """As firmware would: give the BAR a place, and switch it on."""
        self.header.bar[0], self.header.bar[1] = base & 0xffffffff | self.header.bar[0] & 0xf, base >> 32
        self.header.command |= MEMORY | MASTER
        self.place()


class PciBus:
    """Bus 0: answers the two ports and ECAM.  With `firmware` that is who gives BARs their places; `reset()` starts the
    guest again."""

    def __init__(self, buses: dict[Bus, AddressSpace], firmware: bool, reset: Callable[[], None]):
        self._lock, self._firmware = threading.RLock(), firmware
        bridge = PciFunction("host bridge", *HOST_BRIDGE, BRIDGE_CLASS, subsystem=QEMU if firmware else (0, 0))
        self._functions: dict[int, PciFunction] = {0: bridge}
        self._free = PCI_LOW
        buses[Bus.PORT].add(PCI_ADDRESS, PCI_DATA + 4 - PCI_ADDRESS, _Ports(self, reset), "PCI configuration ports")
        buses[Bus.MMIO].add(ECAM, ECAM_BYTES, _Ecam(self), "PCI configuration space")

    def add(self, function: PciFunction) -> None:
        """Plug in an endpoint, and give its BAR a place if no firmware does.  Raises UserError if the bus is full."""
        number = len(self._functions)
        if number >= DEVICES:
            raise UserError(f"{function.name}: {number} PCI devices; wanted at most {DEVICES - 1}")
        self._functions[number], function.number = function, number
        if self._firmware:
            return
        base = -(-self._free // function.bar_bytes) * function.bar_bytes
        self._free = base + function.bar_bytes
        function.assign(base)

    def read(self, device: int, function: int, register: int, width: int) -> int:
        with self._lock:
            found = self._find(device, function, register, width)
            return found.read(register, width) if found else self._nothing(device, function, width)

    def _find(self, device: int, function: int, register: int, width: int) -> PciFunction | None:
        return self._functions.get(device) if function == 0 and register + width <= CONFIG_BYTES else None

    def _nothing(self, device: int, function: int, width: int) -> int:
        """Beyond the first 256 bytes there is nothing, which is no capability; no device is all ones."""
        return 0 if function == 0 and device in self._functions else (1 << 8 * width) - 1

    def write(self, device: int, function: int, register: int, width: int, value: int) -> None:
        with self._lock:
            if found := self._find(device, function, register, width):
                found.write(register, width, value)


class _Ports:
    """0xcf8 chooses a register, 0xcfc is the register (3.2.2.3.2); a byte at 0xcf9 is a chipset's reset control."""

    def __init__(self, bus: PciBus, reset: Callable[[], None]):
        self.bus, self.reset, self.address = bus, reset, 0

    def _place(self, offset: int) -> tuple[int, int, int] | None:
        """(device, function, register) of an access to the data port."""
        if offset < 4 or not self.address >> 31 or self.address >> 16 & 0xff:
            return None
        return self.address >> 11 & 31, self.address >> 8 & 7, (self.address & 0xfc) + offset - 4

    def read(self, offset: int, width: int) -> int:
        if offset == 0 and width == 4:
            return self.address
        place = self._place(offset)
        return self.bus.read(*place, width) if place else (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        if offset == 0 and width == 4:
            self.address = value
        elif offset == RESET_CONTROL and width == 1 and value & RESET_CPU:
            self.reset()
        elif place := self._place(offset):
            self.bus.write(*place, width, value)


class _Ecam:
    """4 KiB a function, in order."""

    def __init__(self, bus: PciBus):
        self.bus = bus

    def read(self, offset: int, width: int) -> int:
        return self.bus.read(offset >> 15, offset >> 12 & 7, offset & 0xfff, width)

    def write(self, offset: int, width: int, value: int) -> None:
        self.bus.write(offset >> 15, offset >> 12 & 7, offset & 0xfff, width, value)
