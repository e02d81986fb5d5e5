"""What local APICs have in common: who gets a message (Intel SDM 3, 11.6.2), and what is to be said to the CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .clock import Clock, Deadlines
from .lapic import LocalApic
from .message import ANY_XAPIC, Message, Shorthand

Telling = Callable[[], None]


class Cpus(Protocol):
    """What is told of interrupts; never with a lock of the chips' held, and in the order in which things came."""

    def wake(self, cpu: int) -> None:
        """It has an interrupt to take, if it runs with interrupts enabled or halts."""

    def nmi(self, cpu: int) -> None:
        """It gets a non-maskable interrupt."""

    def init(self, cpu: int) -> None:
        """It is reset, and waits for a SIPI unless it is the first (SDM 3, 9.4.2).  Its APIC was reset already."""

    def sipi(self, cpu: int, vector: int) -> None:
        """If it waits for one, it starts at page `vector`; else it goes on (SDM 3, 9.4.3)."""

    def earlier(self) -> None:
        """Whoever sleeps until the chips want their next tick: that is earlier now."""


class ApicBus:
    """All local APICs.  Whoever calls it has the chips' lock, and says what `told` has once it has it no more."""

    def __init__(self, count: int, clock: Clock, cpus: Cpus, ended: Callable[[int], None]):
        self.clock, self._cpus = clock, cpus
        self.deadlines = Deadlines(self._earlier)
        self.end_of_interrupt = ended           # of a level-triggered vector
        self.told: list[Telling] = []
        self._woken: set[int] = set()
        self.apics = [LocalApic(index, self) for index in range(count)]

    def take_told(self) -> Sequence[Telling]:
        """What is to be said since the last call."""
        if not self.told:
            return ()                   # and not the list, which others go on with
        told, self.told = self.told, []
        self._woken.clear()
        return told

    def _earlier(self) -> None:
        self.told.append(self._cpus.earlier)

    def wake(self, cpu: int) -> None:
        if cpu not in self._woken:
            self._woken.add(cpu)
            self.told.append(lambda: self._cpus.wake(cpu))

    def nmi(self, cpu: int) -> None:
        self.told.append(lambda: self._cpus.nmi(cpu))

    def init(self, cpu: int) -> None:
        self.told.append(lambda: self._cpus.init(cpu))

    def sipi(self, cpu: int, vector: int) -> None:
        self.told.append(lambda: self._cpus.sipi(cpu, vector))

    def send(self, message: Message, source: LocalApic | None = None) -> bool:
        """To those that are meant; whether any took it.  `source` is whose IPI it is."""
        meant = self.meant(message, source)
        if message.to_one and not (message.destination == ANY_XAPIC and not message.logical):
            meant = self._chosen(meant, message.vector)
        taken = False
        for apic in meant:
            taken |= apic.accept(message.mode, message.vector, message.level, message.asserted)
        return taken

    def meant(self, message: Message, source: LocalApic | None) -> list[LocalApic]:
        if message.shorthand == Shorthand.SELF:
            return [source] if source else []
        present = [apic for apic in self.apics if apic.present]
        if message.shorthand == Shorthand.ALL:
            return present
        if message.shorthand == Shorthand.OTHERS:
            return [apic for apic in present if apic is not source]
        return [apic for apic in present if apic.is_meant(message, source is not None)]

    @staticmethod
    def _chosen(meant: list[LocalApic], vector: int) -> list[LocalApic]:
        """One of those that are enabled, by the vector, as KVM has it (vector_hashing): what is of the lowest priority
        is the model's affair (SDM 3, 11.6.2.4)."""
        able = [apic for apic in meant if apic.on]
        return able[vector % len(able):][:1] if able else []

    def nmi_watchdog(self) -> None:
        """The timer's interrupt where LINT0 is an NMI, as KVM has it: each CPU gets one."""
        for apic in self.apics:
            apic.tick_as_nmi()
