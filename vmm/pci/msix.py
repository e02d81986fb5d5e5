"""MSI-X of one PCI function: its table, its pending bits, and where they send its interrupt
lines (PCI Local Bus 3.0, 6.8.2)."""

from __future__ import annotations

import struct

from ..devmodel.devices.pci import CapabilityId, MsixCapability, MsixEntry
from ..devmodel.layout import layout_block
from ..kvm.interrupts import Interrupts, Message, MessageLine
from .pci import PciFunction

ENTRY_BYTES = layout_block(MsixEntry).size
ENABLED, FUNCTION_MASKED = 1 << 15, 1 << 14     # in the capability's control word
CONTROL_AT = layout_block(MsixCapability).field("control").offset
MASKED = 1                                      # in an entry's
NO_VECTOR = 0xffff


class Msix:
    """A vector for each of `lines`.  Each line has one, or NO_VECTOR; several may have the same."""

    def __init__(self, function: PciFunction, interrupts: Interrupts, lines: list[MessageLine], table_at: int,
                 pending_at: int):
        """`table_at` and `pending_at` are offsets in the function's BAR."""
        vectors = len(lines)
        self._interrupts, self._function, self.vectors = interrupts, function, vectors
        self._table = bytearray(struct.pack("<IIII", 0, 0, 0, MASKED) * vectors)
        self._lines = dict.fromkeys(lines, NO_VECTOR)
        self._at = function.add_capability(MsixCapability, id=CapabilityId.MSIX, control=vectors - 1,
                                           table=table_at, pending=pending_at)
        function.allow(self._at + CONTROL_AT, (ENABLED | FUNCTION_MASKED).to_bytes(2, "little"))
        function.hook(self._at + CONTROL_AT, 2, self)

    def point(self, line: MessageLine, vector: int) -> int:
        """Give a line a vector; returns what it has now: NO_VECTOR if there is no such vector."""
        self._lines[line] = vector if vector < self.vectors else NO_VECTOR
        line.forget()       # what was raised before it had one is not for this one
        self._aim()
        return self._lines[line]

    def reset(self) -> None:
        """No line has a vector (VIRTIO 1.2, 4.1.5.1.2: after a device reset)."""
        for line in self._lines:
            self._lines[line] = NO_VECTOR
            line.forget()
        self._aim()

    def _aim(self) -> None:
        for line, vector in self._lines.items():
            line.aim(self._message(vector))
        self._interrupts.update()

    def _message(self, vector: int) -> Message | None:
        """What an entry says; None while it may not be sent."""
        control = int.from_bytes(self._function.space[self._at + CONTROL_AT:][:2], "little")
        if vector == NO_VECTOR or not control & ENABLED or control & FUNCTION_MASKED:
            return None
        low, high, data, entry_control = struct.unpack_from("<IIII", self._table, ENTRY_BYTES * vector)
        return None if entry_control & MASKED else (low, high, data)

    # the guest's accesses

    def config_read(self) -> None:
        """The control word is as it was written."""

    def config_written(self) -> None:
        self._aim()

    def read_table(self, offset: int, width: int) -> int:
        return int.from_bytes(self._table[offset:offset + width], "little")

    def write_table(self, offset: int, width: int, value: int) -> None:
        if width in (4, 8) and offset % width == 0 and offset + width <= len(self._table):
            self._table[offset:offset + width] = value.to_bytes(width, "little")
            self._aim()

    def read_pending(self, offset: int, width: int) -> int:
        """A bit for each vector that has a message to send and may not."""
        bits = 0
        for line, vector in self._lines.items():
            if vector != NO_VECTOR and line.pending:
                bits |= 1 << vector
        return bits >> 8 * offset & (1 << 8 * width) - 1
