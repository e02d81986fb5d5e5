"""Interrupt lines: I/O APIC pins and messages, raised from userspace or straight from a doorbell.

An irqfd on an I/O APIC pin costs a kernel worker for each interrupt (KVM injects only MSIs
where the eventfd is signalled: kvm_arch_set_irq_inatomic, arch/x86/kvm/irq.c).  So a pin
whose doorbell is claimed in the kernel is shadowed: while the guest has it unmasked and
edge-triggered, its GSI is routed as the MSI that the redirection entry amounts to.  While it
is masked, a doorbell has no irqfd at all, as a masked edge is lost on hardware too (82093AA,
3.2.4), unless it is an 8259 that the guest has unmasked it in: then the worker has to do.  The
exit path tells us of each write to I/O APIC and 8259 masks (Action.WATCH); KVM itself handles it.

A message (MSI-X) is raised by an eventfd, whoever does it.  While it is masked the eventfd has
no irqfd either, but keeps what it was told: that is the pending bit, and KVM looks at it when
the irqfd is made again (kvm_irqfd_assign, virt/kvm/eventfd.c).

A ring's completions have an eventfd of their own, whatever becomes of the line, as the guest may be
polling: it is an irqfd whose message goes to a CPU that does not exist, and says in its data which
queue's they are.  The exit path collects them as KVM injects that, and raises the line, by its
eventfd, if the driver wants that.
"""

from __future__ import annotations

import os
import select
import threading
from collections import Counter

from ..errors import UserError
from .addresses import FIRST_PIN, LAST_PIN
from .chips import NO_CHIPS, Chips, chip_routes
from .messages import MASKED, Message, collecting, msi_of, of_guest


def _signalled(fd: int) -> bool:
    """Whether an eventfd has been written to since it was read."""
    return bool(select.select([fd], [], [], 0)[0])


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


class Line:
    """One interrupt of a device.  `number` is what the native exit path raises: a GSI to pulse,
    or an eventfd to signal, inverted."""

    def __init__(self, interrupts: Interrupts, gsi: int):
        self._interrupts, self.gsi, self.pulses = interrupts, gsi, 0
        self.doorbell = -1          # eventfd that raises it, or -1

    def claim(self) -> int:
        """An eventfd that raises the interrupt when a doorbell in the kernel signals it."""
        raise NotImplementedError

    def release(self) -> None:
        """Undo `claim`; nobody in the kernel signals the eventfd any more."""

    @property
    def used(self) -> bool:
        return self.doorbell >= 0


class PinLine(Line):
    """An I/O APIC pin, edge-triggered."""

    @property
    def number(self) -> int:
        return self.gsi

    def pulse(self) -> None:
        self.pulses += 1
        self._interrupts.pulse(self.gsi)

    def claim(self) -> int:
        if self.doorbell < 0:
            self.doorbell = _eventfd()
            self._interrupts.update()
        return self.doorbell

    def release(self) -> None:
        self._interrupts.drop(self)

    def message(self, chips: Chips) -> Message | None:
        """What it is routed as while it is claimed."""
        return msi_of(chips.pins[self.gsi])

    def open(self, chips: Chips) -> bool:
        """Whether an edge now is not lost."""
        return not chips.pins[self.gsi] & MASKED or chips.by_8259(self.gsi)


class MessageLine(Line):
    """A message, whose address and data the guest chooses; None while it is masked."""

    def __init__(self, interrupts: Interrupts, gsi: int):
        super().__init__(interrupts, gsi)
        self._message: Message | None = None
        self.doorbell = _eventfd()

    @property
    def number(self) -> int:
        return ~self.doorbell

    def pulse(self) -> None:
        self.pulses += 1
        os.eventfd_write(self.doorbell, 1)

    def claim(self) -> int:
        return self.doorbell

    def aim(self, message: Message | None) -> None:
        """Where it goes from now on; the caller updates the routes."""
        self._message = message

    @property
    def pending(self) -> bool:
        """Whether it was raised while masked."""
        return self._message is None and _signalled(self.doorbell)

    def forget(self) -> None:
        """Nothing is pending any more."""
        if self.pending:
            os.eventfd_read(self.doorbell)

    def message(self, _chips: Chips) -> Message | None:
        return self._message

    def open(self, _chips: Chips) -> bool:
        return self._message is not None


class Interrupts:
    """All lines of one VM; `vm` is None where there is no KVM, and pulses are only counted."""

    def __init__(self, vm):
        self.vm = vm
        self._lock = threading.RLock()
        self._lines: list[Line] = []
        self._pins = 0                              # given out
        self._wired: dict[int, int] = {}            # eventfds that are irqfds now -> their GSI
        self._messages: dict[int, Message] = {}     # GSI -> the message that it is routed as now
        self._collectors: dict[int, Message] = {}   # the same, of GSIs that only call a collector
        self._counted: Counter[int] = Counter()     # pulses of each GSI, where there is no KVM
        self._next_gsi = LAST_PIN + 1
        if vm:
            vm.set_routing(self._routes({}))

    def pin_line(self, pin: int | None = None) -> PinLine:
        """The next free pin's, or that of `pin`."""
        if pin is None:
            pin = FIRST_PIN + self._pins
            if pin > LAST_PIN:
                raise UserError(f"{self._pins + 1} devices with interrupt pins; wanted at most {self._pins}, and "
                                "transport=pci for more")
            self._pins += 1
        return self._added(PinLine(self, pin))

    def message_line(self) -> MessageLine:
        return self._added(MessageLine(self, self._new_gsi()))

    def _new_gsi(self) -> int:
        self._next_gsi += 1
        return self._next_gsi - 1

    def _added(self, line):
        self._lines.append(line)
        return line

    def pulse(self, pin: int) -> None:
        if self.vm:
            self.vm.pulse(pin)
        else:
            self._counted[pin] += 1

    def set_level(self, gsi: int, high: bool) -> None:
        """Keep a line of the chips high or low; without KVM each time that it is set high counts as a pulse."""
        if self.vm:
            self.vm.set_level(gsi, high)
        else:
            self._counted[gsi] += high

    def counted(self, gsi: int) -> int:
        """How often a line was raised where there is no KVM, and so nobody who takes what its eventfd was told."""
        for line in self._lines:
            if line.gsi == gsi and isinstance(line, MessageLine) and line.open(NO_CHIPS) and _signalled(line.doorbell):
                self._counted[gsi] += os.eventfd_read(line.doorbell)
        return self._counted[gsi]

    def raise_(self, number: int) -> None:
        """Raise the line with this number, as the native exit path would."""
        if number < 0:
            os.eventfd_write(~number, 1)
        else:
            self.pulse(number)

    def collector(self, slot: int, queue: int) -> int:
        """An eventfd that has the exit path collect what has come back to a queue of the device in `slot`; the
        caller's."""
        fd = _eventfd()
        with self._lock:
            gsi = self._new_gsi()
            self._collectors[gsi] = collecting(slot, queue)
            self.vm.set_routing(self._routes(self._messages))
            self.vm.irqfd(fd, gsi, True)
        return fd

    def update(self) -> None:
        """Make irqfds and routes as the guest has its pins and messages now; a route changes with
        no irqfd on it."""
        if not self.vm:
            return
        with self._lock:
            lines = [line for line in self._lines if line.used]
            chips = NO_CHIPS
            if any(isinstance(line, PinLine) for line in lines):
                chips = Chips(self.vm.ioapic_pins(), self.vm.pic_masks())
            messages, wanted = {}, {}
            for line in lines:
                message, is_open = line.message(chips), line.open(chips)
                if message:
                    messages[line.gsi] = of_guest(message)
                if is_open:
                    wanted[line.doorbell] = line.gsi
            self._rewire(messages, wanted)

    def _rewire(self, messages: dict[int, Message], wanted: dict[int, int]) -> None:
        for fd, gsi in list(self._wired.items()):
            if fd not in wanted or messages.get(gsi) != self._messages.get(gsi):
                self._unwire(fd)
        if messages != self._messages:
            self.vm.set_routing(self._routes(messages))
            self._messages = messages
        for fd, gsi in wanted.items():
            if fd not in self._wired:
                self.vm.irqfd(fd, gsi, True)
                self._wired[fd] = gsi

    def _unwire(self, fd: int) -> None:
        if fd in self._wired:
            self.vm.irqfd(fd, self._wired.pop(fd), False)

    def drop(self, line: Line) -> None:
        """Close a line's eventfd."""
        with self._lock:
            fd, line.doorbell = line.doorbell, -1
            if fd < 0:
                return
            self._unwire(fd)
            self.update()
            os.close(fd)

    def _routes(self, messages: dict[int, Message]) -> list[dict]:
        """Every GSI of the chips leads there, but for those that are shadowed."""
        return chip_routes(self.vm.lib, messages) + \
            [self._msi(gsi, message) for gsi, message in {**messages, **self._collectors}.items()]

    def _msi(self, gsi: int, message: Message) -> dict:
        low, high, data = message
        return {"gsi": gsi, "type": self.vm.lib.KVM_IRQ_ROUTING_MSI, "address_lo": low, "address_hi": high,
                "data": data}

    def close(self) -> None:
        with self._lock:
            if self.vm:
                self._rewire({}, {})
            for line in self._lines:
                if line.doorbell >= 0:
                    os.close(line.doorbell)
            self._lines.clear()
