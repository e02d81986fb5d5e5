"""What KVM's Vm is to a machine, without KVM: memory slots, chips, interrupt lines."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from ..chips.chipset import Chipset
from ..chips.clock import Clock
from ..chips.irqfd import IrqfdPoller
from ..executors._emulator import lib
from ..kvm.bus import AddressSpace
from ..kvm.slots import WithSlots
from ..kvm.vm import binding


class Turns:
    """vCPUs run one at a time, as they ask: Unicorn's atomic instructions are no such among threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def mine(self):
        """The block is this thread's turn."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
        try:
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()


class _Watched:
    """A chip whose writes change which interrupts are masked."""

    def __init__(self, device: Any, changed: Callable[[], None]):
        self._device, self._changed = device, changed
        self.read = device.read

    def write(self, offset: int, width: int, value: int) -> None:
        self._device.write(offset, width, value)
        self._changed()


class EmulatedVm(WithSlots):
    """See Vm, whose calls these are.  `cpus` of the chips is whoever holds the vCPUs."""

    fd = -1

    def __init__(self, cpus: int):
        super().__init__()
        self.ffi, self.lib = binding()
        self.tsc_offset = -lib.emulator_ticks() & (1 << 64) - 1     # the guest's counter begins at 0
        self.vcpus: list[Any] = []
        self.turns = Turns()
        self.chips = Chipset(cpus, Clock(), self)
        self._poller = IrqfdPoller(self.pulse)

    def capability(self, _name: str) -> int:
        """None of KVM's."""
        return 0

    def add_chips(self, ports: AddressSpace, memory: AddressSpace, changed: Callable[[], None]) -> None:
        """Their registers, but local APICs'; `changed` is called as interrupts are masked, or no longer."""
        class Watching:
            def __init__(self, space: AddressSpace):
                self._space = space

            def add(self, base: int, size: int, device: Any, name: str) -> None:
                self._space.add(base, size, _Watched(device, changed), name)
        self.chips.add_to(Watching(ports), Watching(memory))

    # interrupts

    def pulse(self, gsi: int) -> None:
        self.chips.pulse(gsi)

    def set_level(self, gsi: int, high: bool) -> None:
        self.chips.set_level(gsi, high)

    def leave_pics(self, masks: int) -> None:
        with self.chips.section:
            self.chips.pics.leave_as_firmware(masks)

    def irqfd(self, fd: int, gsi: int, on: bool) -> None:
        if on:
            self._poller.register(fd, gsi)
        else:
            self._poller.unregister(fd)

    def set_routing(self, entries: list[dict]) -> None:
        self.chips.set_routing(entries)

    def ioapic_pins(self) -> list[int]:
        return self.chips.ioapic_pins()

    def pic_masks(self) -> tuple[int, int]:
        return self.chips.pic_masks()

    # what the chips tell (apic_bus.py: Cpus)

    def wake(self, cpu: int) -> None:
        self.vcpus[cpu].wake()

    def earlier(self) -> None:
        for vcpu in self.vcpus:
            vcpu.look_earlier()

    def nmi(self, cpu: int) -> None:
        self.vcpus[cpu].tell("nmi")

    def init(self, cpu: int) -> None:
        self.vcpus[cpu].tell("init")

    def sipi(self, cpu: int, vector: int) -> None:
        self.vcpus[cpu].tell("sipi", vector)

    def close(self) -> None:
        self._poller.close()


