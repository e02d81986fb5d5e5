"""Configuration space of one PCI function, as a guest reaches it."""

from vmm.devmodel.exit_path import Bus
from vmm.kvm.addresses import ECAM, PCI_ADDRESS, PCI_DATA

COMMAND, BAR, CAPABILITIES = 0x04, 0x10, 0x34
MEMORY = 2
DEVICE = 1      # on the bus


class ConfigSpace:
    """By ECAM, or by ports."""

    def __init__(self, machine, device=DEVICE, ports=False):
        self.machine, self.device, self.ports = machine, device, ports

    def _at(self, register):
        if not self.ports:
            return Bus.MMIO, ECAM + (self.device << 15) + register
        self.machine.guest_write(Bus.PORT, PCI_ADDRESS, 4, 1 << 31 | self.device << 11 | register & 0xfc)
        return Bus.PORT, PCI_DATA + (register & 3)

    def read(self, register, width=4):
        bus, at = self._at(register)
        return self.machine.guest_read(bus, at, width)

    def write(self, register, width, value):
        bus, at = self._at(register)
        self.machine.guest_write(bus, at, width, value)

    def capabilities(self):
        """(offset, id, bytes of it) of each."""
        found, at = [], self.read(CAPABILITIES, 1)
        while at:
            found.append((at, self.read(at, 1), bytes(self.read(at + i, 1) for i in range(20))))
            at = self.read(at + 1, 1)
        return found

    def bar(self):
        return self.read(BAR) & ~0xf | self.read(BAR + 4) << 32

    def move(self, base):
        """As an operating system does: decoding off meanwhile."""
        command = self.read(COMMAND, 2)
        self.write(COMMAND, 2, command & ~MEMORY)
        self.write(BAR, 4, base & 0xffffffff)
        self.write(BAR + 4, 4, base >> 32)
        self.write(COMMAND, 2, command)
