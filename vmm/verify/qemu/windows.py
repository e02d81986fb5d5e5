"""QEMU's registers of a device, found by where ours has them: `offset` is from the base of our device."""

from __future__ import annotations

import struct

from ...devmodel.devices.pci import CapabilityId, VirtioCapabilityKind
from ...devmodel.devices.virtio_mmio import VirtioMmio
from ...devmodel.devices.virtio_pci import CONFIG, NO_VECTOR, VirtioPci
from ...devmodel.layout import PAGE
from ...kvm.memory import GuestMemory
from ...virtio.virtio_pci import DOORBELLS
from ..driver import capabilities
from .qtest import Qtest

MMIO = 0xfeb00000               # of microvm's first transport
ECAM = 0xe0000000 + (1 << 15)   # of microvm's PCI device 1
BARS = 0xc0000000               # where we put them, 16 MiB each
MESSAGES = 0x1000               # guest-physical; below what is compared: a word for each vector
BAR0, COMMAND = 0x10, 0x04
MEMORY_AND_MASTER = 6           # of the command register
MSIX_ENABLE = 1 << 15


class MmioWindow:
    """Of a virtio-mmio device: the same registers in the same places."""

    def __init__(self, qtest: Qtest, memory: GuestMemory, queues: int):
        self.qtest, self._cause = qtest, 0

    def place(self, offset: int) -> int | None:
        return MMIO + offset

    def look(self) -> int:
        """Device status.  An interrupt's cause is kept, and its line let fall, so that it can rise again."""
        status, cause = self.qtest.read((MMIO + VirtioMmio.status.offset, 4),
                                        (MMIO + VirtioMmio.interrupt_status.offset, 4))
        if cause:
            self._cause |= cause
            self.qtest.write(MMIO + VirtioMmio.interrupt_ack.offset, 4, cause)
            self.qtest.flush()
        return status

    def interrupts(self) -> tuple[list[bool], int]:
        """Whether the line was raised since the last call, and what for."""
        raised, cause = bool(self.qtest.raised), self._cause
        self.qtest.raised.clear()
        self._cause = 0
        return [raised], cause

    def set_vectors(self) -> None:
        """There are none."""

    def set_vector(self, queue: int) -> None:
        """There are none."""

    def mask(self, queue: int, masked: bool) -> None:
        """There are none."""

    def unset_vector(self) -> None:
        """There are none."""


class PciWindow:
    """Of a virtio-pci device (VIRTIO 1.2, 4.1.4): found by its capabilities.  Each vector writes to a word of RAM."""

    def __init__(self, qtest: Qtest, memory: GuestMemory, queues: int):
        self.qtest, self._memory, self._queues = qtest, memory, queues
        self._places: dict[int, int] = {}
        self._multiplier = self._table = 0
        for bar in range(6):        # a 64-bit one has its upper half in the next, which stays 0
            qtest.write(ECAM + BAR0 + 4 * bar, 4, 0)
        for bar in (1, 4):
            qtest.write(ECAM + BAR0 + 4 * bar, 4, BARS + (bar << 24))
        qtest.write(ECAM + COMMAND, 2, MEMORY_AND_MASTER)
        self._capabilities()

    def _capabilities(self) -> None:
        for at, what in capabilities(self._config):
            if what == CapabilityId.MSIX:
                self._point_vectors(at)
            elif what == CapabilityId.VENDOR:
                kind, bar, offset = self._config(at + 3, 1), self._config(at + 4, 1), self._config(at + 8, 4)
                self._places[kind] = BARS + (bar << 24) + offset
                if kind == VirtioCapabilityKind.NOTIFY:
                    self._multiplier = self._config(at + 16, 4)

    def _point_vectors(self, at: int) -> None:
        """Each vector of MSI-X to its word; what it writes there is 1."""
        where = self._config(at + 4, 4)
        self._table = table = BARS + ((where & 7) << 24) + (where & ~7)
        for vector in range(self._queues + 1):
            for i, word in enumerate((MESSAGES + 4 * vector, 0, 1, 0)):
                self.qtest.write(table + 16 * vector + 4 * i, 4, word)
        self.qtest.write(ECAM + at + 2, 2, self._config(at + 2, 2) | MSIX_ENABLE)
        self.qtest.flush()

    def _config(self, offset: int, width: int) -> int:
        return self.qtest.read((ECAM + offset, width))[0]

    def place(self, offset: int) -> int | None:
        """None for a doorbell of no queue."""
        if offset >= DOORBELLS:
            queue = (offset - DOORBELLS) // PAGE
            at = self._places[VirtioCapabilityKind.NOTIFY] + self._multiplier * queue
            return at if queue < self._queues else None
        if offset >= CONFIG:
            return self._places[VirtioCapabilityKind.DEVICE] + offset - CONFIG
        return self._places[VirtioCapabilityKind.COMMON] + offset

    def look(self) -> int:
        return self.qtest.read((self._places[VirtioCapabilityKind.COMMON] + VirtioPci.status.offset, 1))[0]

    def interrupts(self) -> tuple[list[bool], int]:
        """Of each queue, and of configuration changes, whether a message came since the last call; no cause."""
        size = 4 * (self._queues + 1)
        words = struct.unpack(f"<{self._queues + 1}I", self._memory.read(MESSAGES, size))
        self._memory.write(MESSAGES, bytes(size))
        return [bool(word) for word in (*words[1:], words[0])], 0

    def set_vectors(self) -> None:
        self._common(VirtioPci.config_vector.offset, 0)

    def set_vector(self, queue: int) -> None:
        """Of the queue that is selected."""
        self._common(VirtioPci.queue_vector.offset, 1 + queue)

    def mask(self, queue: int, masked: bool) -> None:
        """The queue's vector, in its own word of the table."""
        self.qtest.write(self._table + 16 * (1 + queue) + 12, 4, int(masked))
        self.qtest.flush()

    def unset_vector(self) -> None:
        """Of the queue that is selected."""
        self._common(VirtioPci.queue_vector.offset, NO_VECTOR)

    def _common(self, offset: int, value: int) -> None:
        self.qtest.write(self._places[VirtioCapabilityKind.COMMON] + offset, 2, value)
