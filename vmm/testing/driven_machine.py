"""A machine under KVM whose guest does what the caller says: each access is a vCPU's, with KVM's exits, tracepoints,
ioeventfds, irqfds and interrupts.

The guest (guests/driver.c) lies in a memory slot of its own, which is none of the machine's memory: no device reaches
it, whatever address it is given.  It waits in HLT for a pin of the I/O APIC; a write to a port, which is an eventfd,
says that it is done.  A vCPU that waits so can be paused as any other.
"""

from __future__ import annotations

import os
import select
from dataclasses import replace
from enum import IntEnum
from time import monotonic

from ..boot import boot
from ..boot.elf import PT_LOAD, Elf
from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Bus
from ..errors import UserError
from ..kvm.addresses import GIB, MIB
from ..kvm.vm import Vm
from ..machine.config import MachineConfig
from ..machine.machine import Machine
from ..paths import BUILD
from ..sync.region import Region

GUEST, BYTES = GIB, MIB     # guest-physical, where it lies: the mailbox first
DONE = 0x510                # the port
PATIENCE_S = 20.0           # with a guest that does not answer
LOOK_S = 0.1                # between two looks whether it has ended
VECTOR = 0x51               # of GSI 0; those of others follow
MOST_GSIS = 31              # that have one

# words of the mailbox, 64 bits each
LINES, BELL, WHAT, WIDTH, ADDRESS, VALUE, TAKEN = range(7)


class What(IntEnum):
    """An access of the guest's."""

    NOTHING, READ, WRITE, IN, OUT = range(5)


class DrivenMachine(Machine):
    """Its vCPU does what `guest_write` and `guest_read` are told.  For one thread."""

    vm: Vm

    def __init__(self, config: MachineConfig, devices: tuple[tuple[RegisterDevice, str], ...] = ()):
        super().__init__(replace(config, kvm=True, guest=None, cpus=1), devices)
        try:
            self.start()
            self._await()
        except BaseException:
            self.close()
            raise

    def _build(self, extra: tuple[tuple[RegisterDevice, str], ...]) -> None:
        super()._build(extra)
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._bell = self.interrupts.pin_line()
        self._region = self.closes(Region.anonymous("driver", BYTES))
        self._mailbox = self._region.view[:4096].cast("Q")
        self.vm.add_memory(GUEST, BYTES, self._region.address)
        self.vm.ioeventfd(Bus.PORT, DONE, 1, self._done, True)
        for line in (line for device in self.devices for line in device.place.lines):
            if line.gsi >= MOST_GSIS:
                raise UserError(f"interrupt {line.gsi} of a driven guest; wanted at most {MOST_GSIS - 1}")
            self._mailbox[LINES] |= 1 << line.gsi
        self._mailbox[BELL] = self._bell.gsi
        self._load()

    def _load(self) -> None:
        """The guest, at the address that it was linked for."""
        with (BUILD / "driver.elf").open("rb") as file:
            elf = Elf(file)
            for segment in elf.segments:
                if segment["p_type"] == PT_LOAD:
                    at = segment["p_paddr"] - GUEST
                    elf.read_into(segment["p_offset"], self._region.view[at:at + segment["p_filesz"]], "a segment")
            boot.start(self.vcpus[0], self.memory, boot.Entry("pvh", elf["e_entry"]))
        self.memory.write(boot.GDT, bytes(32))      # it has one of its own, and memory is as the sequences know it

    def guest_write(self, bus: Bus, address: int, width: int, value: int) -> int:
        """0: which half did it, counters tell.  Raises RuntimeError for one that is claimed and came to Python
        nevertheless, as most devices do not mind that but for the time."""
        loop = self.vcpus[0].loop
        exits = loop.exits
        self._do(What.OUT if bus is Bus.PORT else What.WRITE, width, address, value)
        if loop.exits != exits and self._claimed(bus, address, width):
            raise RuntimeError(f"{bus.name} {address:#x}, {width} bytes: an exit to Python; wanted none, as it is "
                               "claimed")
        return 0

    def _claimed(self, bus: Bus, address: int, width: int) -> bool:
        return any((address, width) == (route.address, route.width) for device in self.devices
                   if device.mode == "on" and device.place.bus is bus for route in device.routes())

    def guest_read(self, bus: Bus, address: int, width: int) -> int:
        self._do(What.IN if bus is Bus.PORT else What.READ, width, address)
        return self._mailbox[VALUE]

    def interrupts_of(self, gsi: int) -> int:
        """How many the guest has taken of those that were raised before now."""
        self._do(What.NOTHING)
        return self._mailbox[TAKEN + gsi]

    def _do(self, what: What, width: int = 0, address: int = 0, value: int = 0) -> None:
        """Raises what has ended the guest."""
        self._check_open()
        mailbox = self._mailbox
        mailbox[WHAT], mailbox[WIDTH], mailbox[ADDRESS], mailbox[VALUE] = what, width, address, value
        self._bell.pulse()
        self._await()

    def _await(self) -> None:
        deadline = monotonic() + PATIENCE_S
        while not select.select([self._done], [], [], LOOK_S)[0]:
            if self.running.error:
                raise self.running.error
            if self.running.stopped or monotonic() > deadline:
                raise UserError(f"the driver guest: no answer, status {self.status}; wanted one")
        os.eventfd_read(self._done)

    def close(self) -> None:
        try:
            super().close()
        finally:
            if hasattr(self, "_done"):
                os.close(self._done)
                del self._done
