"""Drivers that set nothing up before a step says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..devmodel.devices.pci import CapabilityId
from ..devmodel.devices.virtio_pci import NO_VECTOR
from ..devmodel.exit_path import Bus
from ..kvm.addresses import ECAM, LOCAL_APIC
from ..testing.driven_machine import VECTOR
from ..testing.driver import Driver, Registers, Ring
from ..virtio.virtio_pci import TABLE, PciTransport

RINGS = 0x110000        # guest-physical; from here on those of as many queues as there are.  Nothing is below 1 MiB,
                        # where other machines than ours have something else than RAM
CAPABILITIES = 0x34     # offset of the pointer to them in configuration space
MSIX_ENABLED = 1 << 15  # in MSI-X's control word


def capabilities(read: Callable[[int, int], int]) -> Iterator[tuple[int, int]]:
    """(offset, ID) of each, in configuration space (PCI Local Bus 3.0, 6.7), of which `read` reads some bytes."""
    at = read(CAPABILITIES, 1)
    while at:
        yield at, read(at, 1)
        at = read(at + 1, 1)


class Unstarted(Driver):
    """A driver that has done nothing yet."""

    RINGS = RINGS

    def __post_init__(self) -> None:
        self.memory = self.machine.memory
        self.registers = Registers(self.machine, self.device)


class VectoredDriver(Unstarted):
    """Over PCI each of the device's interrupts has a vector of its own: its GSI's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        transport = self.device.transport
        self._pci = isinstance(transport, PciTransport)
        if isinstance(transport, PciTransport):
            self._space = ECAM + (transport.function.number << 15)      # configuration space: guest-physical
            self._fill_table()
            self._write(self._capability() + 2, 2, MSIX_ENABLED)

    def _fill_table(self) -> None:
        """Of MSI-X: address, data and an open mask of each vector."""
        for number, line in enumerate(self.device.place.lines):
            for at, word in enumerate((LOCAL_APIC, 0, VECTOR + line.gsi, 0)):
                self.registers.write_at(TABLE + 16 * number + 4 * at, 4, word)

    def _capability(self) -> int:
        """Where the one of MSI-X is."""
        return next(at for at, kind in capabilities(self._read) if kind == CapabilityId.MSIX)

    def _read(self, at: int, width: int) -> int:
        return self.machine.guest_read(Bus.MMIO, self._space + at, width)

    def _write(self, at: int, width: int, value: int) -> None:
        self.machine.guest_write(Bus.MMIO, self._space + at, width, value)

    def start(self, ready: bool = True) -> None:
        super().start(ready and not self._pci)
        if self._pci:       # a reset takes the vectors away
            self.registers.write("config_vector", len(self.rings))
            if ready:
                self.make_ready()

    def place(self, ring: Ring) -> int:
        if self._pci:
            self.registers.write("queue_sel", ring.index)
            self.registers.write("queue_vector", ring.index)
        return super().place(ring)

    def mask(self, number: int, masked: bool) -> None:
        """A vector's bit in MSI-X's table (PCI Local Bus 3.0, 6.8.2.9): what is raised meanwhile waits."""
        if self._pci:
            self.registers.write_at(TABLE + 16 * number + 12, 4, int(masked))

    def unset(self, queue: int) -> None:
        """The queue has no vector any more (VIRTIO 1.2, 4.1.5.1.2), and interrupts nobody."""
        if self._pci:
            self.registers.write("queue_sel", queue)
            self.registers.write("queue_vector", NO_VECTOR)
