"""The display: a PCI function with a linear frame buffer, a VGA's ports, Bochs's beside them, and the window below
1 MiB.

The frame buffer is memory to the guest, wherever it puts its BAR.  The window at 0xa0000 is as long as what it shows
is one byte behind the other; else accesses of it come here (planes.py).  Characters, from 0xb0000 on, are guest RAM:
planes 0 and 1 of a text mode are there, not where plane 2 has the fonts.
"""

from __future__ import annotations

import logging
import threading

from ..device.guestlog import GuestLog
from ..devmodel.exit_path import Bus
from ..kvm.addresses import VBE_PORTS, VGA_MONOCHROME_PORTS, VGA_PORTS, VGA_WINDOW
from ..kvm.bus import BusOverlap
from ..kvm.memory import GuestMemory
from ..pci.pci import PciBus, PciFunction
from ..sync.region import Region
from .frame import Frame, Painter
from .mode import Mode
from .planes import WINDOW_BYTES, Planes
from .registers import Registers
from .vbe import BANK, BANK_BYTES, KEEP_MEMORY, Vbe

log = logging.getLogger("splitvmm.vga")

VENDOR, DEVICE, DISPLAY = 0x1234, 0x1111, 0x03      # QEMU's docs/specs/standard-vga.rst
MEMORY_BYTES = 16 << 20
MONOCHROME_PORT_COUNT, PORT_COUNT = 0xc, 0x20       # a printer port is between both


class Vga:
    """Closed by its owner, when no vCPU runs any more."""

    def __init__(self, vm, ram: GuestMemory, buses: dict, pci: PciBus):
        """`vm` is None where there is no KVM."""
        self._vm, self._lock = vm, threading.Lock()
        self._region = Region.anonymous("vga", MEMORY_BYTES)
        self.memory = self._region.view
        self._registers, self._vbe = Registers(), Vbe(MEMORY_BYTES)
        self._mode, self._planes = Mode(self._registers), Planes(self._registers, self.memory)
        self._painter = Painter(self._registers, self._vbe, self.memory, ram)
        self._guest_log = GuestLog("splitvmm.vga")
        self._space = buses[Bus.MMIO]
        self._frame_buffer_at: int | None = None
        self._frame_buffer: int | None = None       # KVM's slot of it
        self._window: tuple[int, int] | None = None     # slot, and bank, of the window where it is memory
        buses[Bus.PORT].add(VGA_MONOCHROME_PORTS, MONOCHROME_PORT_COUNT, _Ports(self, 0x10), "VGA, monochrome")
        buses[Bus.PORT].add(VGA_PORTS, PORT_COUNT, _Ports(self, 0), "VGA")
        buses[Bus.PORT].add(VBE_PORTS, 4, _VbePorts(self), "VBE")
        buses[Bus.MMIO].add(VGA_WINDOW, WINDOW_BYTES, _Window(self), "VGA's window")
        self.function = PciFunction("vga", VENDOR, DEVICE, DISPLAY, bar_bytes=MEMORY_BYTES, bar_is_64=False, ports=True)
        self.function.moved = self._moved
        pci.add(self.function)

    def frame(self) -> Frame:
        """The picture that is shown now."""
        with self._lock:
            return self._painter.frame()

    def text(self) -> list[str]:
        """The characters that are shown now, in rows; none in a graphics mode."""
        with self._lock:
            return self._painter.text()

    def close(self) -> None:
        self._region.close()

    # the guest's accesses

    def read_port(self, port: int) -> int:
        with self._lock:
            return self._registers.read(port)

    def write_port(self, port: int, value: int) -> None:
        with self._lock:
            self._registers.write(port, value)
            self._map_window()

    def read_vbe(self) -> int:
        with self._lock:
            return self._vbe.read()

    def write_vbe(self, index: int | None, value: int = 0) -> None:
        """Select a register, or (None) write to it."""
        with self._lock:
            if index is not None:
                self._vbe.select(index)
                return
            before = self._vbe.enabled
            self._vbe.write(value)
            if self._vbe.enabled and not before and not value & KEEP_MEMORY:
                self.memory[:] = bytes(MEMORY_BYTES)
            self._map_window()

    def read_window(self, offset: int) -> int:
        with self._lock:
            bank = self._linear_bank()
            return self._planes.read(offset) if bank is None else self.memory[BANK_BYTES * bank + offset]

    def write_window(self, offset: int, value: int) -> None:
        with self._lock:
            bank = self._linear_bank()
            if bank is None:
                self._planes.write(offset, value)
            else:
                self.memory[BANK_BYTES * bank + offset] = value

    # what is memory to the guest

    def _linear_bank(self) -> int | None:
        """What of the memory the window shows, one byte behind the other; None for planes."""
        if self._vbe.linear:
            return self._vbe[BANK]
        return 0 if self._mode.chained and not self._mode.text else None

    def _map_window(self) -> None:
        bank = self._linear_bank()
        if not self._vm or bank == (self._window[1] if self._window else None):
            return
        if self._window:
            self._vm.remove_memory(self._window[0])
            self._window = None
        if bank is not None:
            self._window = self._vm.add_memory(VGA_WINDOW, WINDOW_BYTES, self._region.address + BANK_BYTES * bank), bank

    def _moved(self, base: int | None) -> None:
        """The guest has moved the frame buffer, or switched it off (None)."""
        log.debug("frame buffer %s", "nowhere" if base is None else f"at {base:#x}")
        with self._lock:
            if self._frame_buffer is not None:
                self._vm.remove_memory(self._frame_buffer)
                self._frame_buffer = None
            if self._frame_buffer_at is not None:
                self._space.remove(self._frame_buffer_at)
                self._frame_buffer_at = None
            if base is None:
                return
            try:
                self._space.add(base, MEMORY_BYTES, _FrameBuffer(self.memory), "frame buffer")
            except BusOverlap as error:
                self._guest_log.warning("%s; it stays switched off", error)
                return
            self._frame_buffer_at = base
            if self._vm:
                self._frame_buffer = self._vm.add_memory(base, MEMORY_BYTES, self._region.address)


class _Ports:
    """Byte by byte: 16 bits at an index are the index and what is written there."""

    def __init__(self, vga: Vga, first: int):
        self._vga, self._first = vga, first

    def read(self, offset: int, width: int) -> int:
        return sum(self._vga.read_port(self._first + offset + i) << 8 * i for i in range(width))

    def write(self, offset: int, width: int, value: int) -> None:
        for i in range(width):
            self._vga.write_port(self._first + offset + i, value >> 8 * i & 0xff)


class _VbePorts:
    """16 bits each: an index, and data at the next port, or at the one behind that."""

    def __init__(self, vga: Vga):
        self._vga = vga

    def read(self, offset: int, width: int) -> int:
        return self._vga.read_vbe() if width == 2 and offset in (1, 2) else 0

    def write(self, offset: int, width: int, value: int) -> None:
        if width == 2 and offset == 0:
            self._vga.write_vbe(value)
        elif width == 2 and offset in (1, 2):
            self._vga.write_vbe(None, value)


class _Window:
    """Byte by byte."""

    def __init__(self, vga: Vga):
        self._vga = vga

    def read(self, offset: int, width: int) -> int:
        return sum(self._vga.read_window(offset + i) << 8 * i for i in range(width))

    def write(self, offset: int, width: int, value: int) -> None:
        for i in range(width):
            self._vga.write_window(offset + i, value >> 8 * i & 0xff)


class _FrameBuffer:
    """Where there is no KVM, to which it is memory."""

    def __init__(self, memory: memoryview):
        self._memory = memory

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self._memory[offset:offset + width], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        self._memory[offset:offset + width] = value.to_bytes(width, "little")
