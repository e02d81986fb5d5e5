"""What kvm-unit-tests finds in QEMU: pc-testdev (hw/misc/pc-testdev.c) and isa-debug-exit (hw/misc/debugexit.c).

Ports for a status to end with, for the levels of interrupt lines, and bytes to read back, in ports and in
memory.  Its ports to flush a page and for single bytes, 0xe4 and 0xe8, are not there, as no test uses them.
"""

from __future__ import annotations

from collections.abc import Callable

from ..devmodel.exit_path import Bus
from ..kvm.addresses import (
    CASCADE,
    LAST_PIN,
    TEST_EXIT,
    TEST_LINES,
    TEST_MEMORY,
    TEST_MEMORY_BYTES,
    TEST_SCRATCH,
)

SCRATCH_BYTES, EXIT_BYTES = 4, 4
REALMODE_LINE = 11      # that realmode.c raises to end a HLT, in a guest without firmware's own interrupts
PIC_MASKS = 0xffff & ~(1 << CASCADE | 1 << REALMODE_LINE)


class Scratch:
    """Bytes that read as what was written, in accesses of any width."""

    def __init__(self, size: int):
        self._bytes = bytearray(size)

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self._bytes[offset:offset + width], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        self._bytes[offset:offset + width] = value.to_bytes(width, "little")


class DebugExit:
    """A write ends the guest with a status that is odd, so that it cannot be taken for success by itself."""

    def __init__(self, stop: Callable[[int], None]):
        self._stop = stop

    def read(self, _offset: int, _width: int) -> int:
        return 0

    def write(self, _offset: int, _width: int, value: int) -> None:
        self._stop((value << 1 | 1) & 0xff)


class Lines:
    """A port for each interrupt line: a write sets its level, whatever its width."""

    def __init__(self, interrupts):
        self._interrupts = interrupts

    def read(self, _offset: int, width: int) -> int:
        return (1 << 8 * width) - 1

    def write(self, offset: int, _width: int, value: int) -> None:
        self._interrupts.set_level(offset, value != 0)


def add(buses: dict, interrupts, stop: Callable[[int], None]) -> None:
    """`stop(status)` ends the guest."""
    ports = buses[Bus.PORT]
    ports.add(TEST_SCRATCH, SCRATCH_BYTES, Scratch(SCRATCH_BYTES), "test ports: scratch")
    ports.add(TEST_EXIT, EXIT_BYTES, DebugExit(stop), "test ports: exit")
    ports.add(TEST_LINES, LAST_PIN + 1, Lines(interrupts), "test ports: interrupt lines")
    buses[Bus.MMIO].add(TEST_MEMORY, TEST_MEMORY_BYTES, Scratch(TEST_MEMORY_BYTES), "test ports: memory")
