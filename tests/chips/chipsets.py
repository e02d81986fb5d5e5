"""What tests of the chips share: a clock that stands still, CPUs that write down what they are told, a whole PC."""

from __future__ import annotations

from vmm.chips.chipset import Chipset
from vmm.chips.clock import Clock
from vmm.devmodel.exit_path import Bus
from vmm.kvm.bus import AddressSpace

IOAPIC, LAPIC = 0xfec00000, 0xfee00000


class StillClock(Clock):
    """Goes on when it is told to."""

    def __init__(self, tsc_khz: int = 1_000_000):
        super().__init__(tsc_khz)
        self.now_ns = 1_000_000_000

    def ns(self) -> int:
        return self.now_ns


class Cpus:
    """What each was told, in its order."""

    def __init__(self):
        self.told = []

    def wake(self, cpu):
        self.told.append(("wake", cpu))

    def nmi(self, cpu):
        self.told.append(("nmi", cpu))

    def init(self, cpu):
        self.told.append(("init", cpu))

    def sipi(self, cpu, vector):
        self.told.append(("sipi", cpu, vector))

    def earlier(self):
        self.told.append("earlier")

    def take(self):
        told, self.told = self.told, []
        return told


class Pc:
    """A chipset, and the spaces that a guest reaches it by."""

    def __init__(self, count: int = 1, **options):
        self.clock, self.cpus = StillClock(), Cpus()
        self.chips = Chipset(count, self.clock, self.cpus, **options)
        self.ports, self.memory = AddressSpace(Bus.PORT), AddressSpace(Bus.MMIO)
        self.chips.add_to(self.ports, self.memory)

    def outb(self, port: int, *values: int) -> None:
        for value in values:
            self.ports.write(port, 1, value)

    def inb(self, port: int) -> int:
        return self.ports.read(port, 1)

    def apic_write(self, offset: int, value: int, cpu: int = 0) -> None:
        self.chips.apic(cpu).write(offset, 4, value)

    def apic_read(self, offset: int, cpu: int = 0) -> int:
        return self.chips.apic(cpu).read(offset, 4)

    def enable(self, *cpus: int) -> None:
        """Software-enable APICs: all of those, or the first."""
        for cpu in cpus or (0,):
            self.apic_write(0xf0, 0x1ff, cpu)

    def redirect(self, pin: int, entry: int) -> None:
        """Write a redirection entry, its upper half first."""
        for half in (1, 0):
            self.memory.write(IOAPIC, 4, 0x10 + 2 * pin + half)
            self.memory.write(IOAPIC + 0x10, 4, entry >> 32 * half & 0xffffffff)

    def entry(self, pin: int) -> int:
        return self.chips.ioapic_pins()[pin]

    def passes(self, ns: int) -> None:
        """Time goes by, and the chips are looked at whenever they want it."""
        end_ns = self.clock.now_ns + ns
        while (next_ns := self.chips.next_ns()) is not None and next_ns <= end_ns:
            self.clock.now_ns = max(self.clock.now_ns, next_ns)
            self.chips.tick()
        self.clock.now_ns = end_ns

    def take(self, cpu: int = 0) -> int | None:
        """What the CPU takes, having interrupts enabled."""
        return self.chips.acknowledge(cpu) if self.chips.pending(cpu) else None
