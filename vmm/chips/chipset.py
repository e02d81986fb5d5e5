"""All of a PC's interrupt controllers and timers, wired, with one lock for them."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from . import ioapic, pit
from .apic_bus import ApicBus, Cpus
from .apic_page import ApicPage
from .clock import Clock
from .ioapic import IoApic
from .message import of_msi
from .pic import Pics
from .pit import Pit, SpeakerPort
from .routing import NOWHERE, Route, Routes, pc_routes, routes_of


class Space(Protocol):
    """Ports or memory: vmm/kvm/bus.py."""

    def add(self, base: int, size: int, device: Any, name: str) -> None:
        """`device` answers `read(offset, width)` and `write(offset, width, value)`."""


class Section:
    """The lock of the chips: `with` it they are changed, and after it the CPUs are told."""

    def __init__(self, bus: ApicBus):
        self._lock, self._bus = threading.Lock(), bus

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        told = self._bus.take_told()
        self._lock.release()
        for tell in told:
            tell()


class Locked:
    """A chip's registers, one access at a time."""

    def __init__(self, section: Section, device: Any):
        self._section, self._device = section, device

    def read(self, offset: int, width: int) -> int:
        with self._section:
            return self._device.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        with self._section:
            self._device.write(offset, width, value)


class CpuApic(Locked):
    """One CPU's local APIC, as that CPU and whoever moves its state have it."""

    def __init__(self, section: Section, page: ApicPage):
        super().__init__(section, page)
        self._page, self._apic = page, page.apic

    @property
    def base(self) -> int:
        """IA32_APIC_BASE."""
        return self._apic.base

    @property
    def cr8(self) -> int:
        """Task priority, 0 to 15 (SDM 3, 11.8.6)."""
        return self._apic.priority >> 4

    @property
    def deadline(self) -> int:
        """IA32_TSC_DEADLINE, in ticks; 0 once it is over."""
        return self._apic.timer.deadline

    def set_base(self, value: int) -> bool:
        """False where the CPU faults (#GP)."""
        with self._section:
            return self._apic.set_base(value)

    def set_cr8(self, value: int) -> None:
        with self._section:
            self._apic.set_priority((value & 0xf) << 4)

    def set_deadline(self, tick: int) -> None:
        with self._section:
            self._apic.timer.set_deadline(tick)

    def set_tsc_offset(self, ticks: int) -> None:
        """What this CPU's time-stamp counter has more than the clock's; given before a deadline is."""
        self._apic.timer.tsc_offset = ticks

    def read_msr(self, msr: int) -> int | None:
        """An x2APIC register; None where the CPU faults."""
        with self._section:
            return self._page.read_msr(msr)

    def write_msr(self, msr: int, value: int) -> bool:
        """False where the CPU faults."""
        with self._section:
            return self._page.write_msr(msr, value)

    def store(self) -> list[int]:
        """Its registers, as VcpuState.apic has them."""
        with self._section:
            return self._apic.store()

    def load(self, registers: list[int], base: int, deadline: int = 0) -> None:
        """Those of a VcpuState, its control.apic_base and its msrs.tsc_deadline."""
        with self._section:
            self._apic.load(registers, base, deadline)


class Chipset:
    """For `count` CPUs.  What is no interrupt that they ask for themselves, `cpus` is told of."""

    def __init__(self, count: int, clock: Clock, cpus: Cpus, ioapic_version: int = ioapic.VERSION_OF_KVM):
        self.clock = clock
        self._routes = pc_routes()
        self._bus = ApicBus(count, clock, cpus, self._ended)
        self.section, self._deadlines = Section(self._bus), self._bus.deadlines
        self.ioapic = IoApic(self._bus.send, ioapic_version)
        self.pics = Pics(self._external)
        self.pics.leave_as_firmware()
        self.pit = Pit(clock, self._deadlines, self._timer)
        self.speaker = SpeakerPort(self.pit, clock)
        self._apics = self._bus.apics
        self._guest_apics = [CpuApic(self.section, ApicPage(apic)) for apic in self._apics]
        self._bus.take_told()           # nobody has to be told of how they begin

    # wiring

    def _ended(self, vector: int) -> None:
        self.ioapic.end_of_interrupt(vector)

    def _external(self) -> None:
        """The 8259s ask for a CPU."""
        for apic in self._apics:
            if apic.takes_external:
                self._bus.wake(apic.index)

    def _timer(self) -> None:
        self._edge(self._routes.get(0, NOWHERE))
        self._bus.nmi_watchdog()

    def add_to(self, ports: Space, memory: Space) -> None:
        """All registers, but those of local APICs: whose they are, the accessing CPU says (`apic`)."""
        for base, size, device, name in self.pics.ports():
            ports.add(base, size, Locked(self.section, device), name)
        ports.add(pit.PORTS, 4, Locked(self.section, self.pit), "8254")
        ports.add(pit.SPEAKER, 1, Locked(self.section, self.speaker), "port 0x61")
        memory.add(ioapic.BASE, ioapic.BYTES, Locked(self.section, self.ioapic), "I/O APIC")

    def apic(self, cpu: int) -> CpuApic:
        """That CPU's, whose page is where its base says."""
        return self._guest_apics[cpu]

    # lines

    def set_level(self, gsi: int, level: bool) -> None:
        """The line has that level now.  One that is a message is sent if it is high."""
        with self.section:
            self._set(self._routes.get(gsi, NOWHERE), level)

    def pulse(self, gsi: int) -> None:
        """Up and down."""
        with self.section:
            self._edge(self._routes.get(gsi, NOWHERE))

    def _edge(self, route: Route) -> None:
        self._set(route, True)
        self._set(route, False)

    def _set(self, route: Route, level: bool) -> None:
        for pin in route.pic_pins:
            self.pics.set_line(pin, level)
        for pin in route.ioapic_pins:
            self.ioapic.set_line(pin, level)
        if level:
            for address, data in route.messages:
                self._bus.send(of_msi(address, data))

    def message(self, address: int, data: int) -> bool:
        """An MSI; whether a CPU took it."""
        with self.section:
            return self._bus.send(of_msi(address, data))

    def set_routing(self, entries: list[dict[str, Any]]) -> None:
        """Replace all routes (as Vm.set_routing).  Raises UserError."""
        routes: Routes = routes_of(entries)
        with self.section:
            self._routes = routes

    def ioapic_pins(self) -> list[int]:
        """The redirection table."""
        with self.section:
            return list(self.ioapic.entries)

    def pic_masks(self) -> tuple[int, int]:
        """Mask registers of both 8259s."""
        with self.section:
            return self.pics.masks()

    # CPUs

    def pending(self, cpu: int) -> bool:
        """Whether `acknowledge` has a vector.  Takes no lock: whatever makes it so wakes the CPU afterwards."""
        apic = self._apics[cpu]
        return apic.interrupting or (self.pics.output and apic.takes_external)

    def acknowledge(self, cpu: int) -> int | None:
        """The vector that the CPU takes; None if there is none (any more).  The local APIC's come first."""
        apic = self._apics[cpu]
        with self.section:
            if apic.interrupting:
                return apic.acknowledge()
            if self.pics.output and apic.takes_external:
                return self.pics.acknowledge()
            return None

    def nmi_line(self, cpu: int) -> None:
        """The NMI line, which is LINT1: what that makes of it."""
        with self.section:
            self._apics[cpu].nmi_line()

    # time

    def next_ns(self) -> int | None:
        """When `tick` is wanted next, of the clock; None if nothing runs.  Takes no lock."""
        return self._deadlines.next_ns

    def tick(self) -> None:
        """Do what is due by now."""
        next_ns = self._deadlines.next_ns
        if next_ns is None or self.clock.ns() < next_ns:
            return
        with self.section:
            now_ns = self.clock.ns()
            for chip in self._deadlines.due(now_ns):
                chip.tick(now_ns)
