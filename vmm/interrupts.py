"""Interrupt lines: I/O APIC pins, raised from userspace or straight from a doorbell.

An irqfd on an I/O APIC pin costs a kernel worker for each interrupt (KVM injects only MSIs
where the eventfd is signalled: kvm_arch_set_irq_inatomic, arch/x86/kvm/irq.c).  So a pin
whose doorbell is claimed in the kernel is shadowed: while the guest has it unmasked and
edge-triggered, its GSI is routed as the MSI that the redirection entry amounts to.  While it
is masked, a doorbell has no irqfd at all, as a masked edge is lost on hardware too (82093AA,
3.2.4), and a ring's completions are routed to a CPU that does not exist: the exit path
collects them as KVM injects an MSI, and the guest may be polling.
The exit path tells us of each write to the I/O APIC (Action.WATCH); KVM itself handles it.
"""

from __future__ import annotations

import os
import threading

from .devmodel.exit_path import PAGES, VCPUS

IOAPIC = 0xfec00000         # guest-physical
IOAPIC_WINDOW = 0x10        # offset of its data register
FIRST_PIN, LAST_PIN = 5, 23     # those that devices may have

MASKED, LEVEL = 1 << 16, 1 << 15
LOGICAL = 1 << 11
FIXED, LOWEST_PRIORITY = 0, 1
NOWHERE = (0xfee00000 | 0xfe << 12, 0x20)   # an MSI to local APIC 0xfe, which no vCPU has
assert VCPUS < 0xfe


def msi_of(entry: int) -> tuple[int, int] | None:
    """(address, data) of the MSI that an edge on a redirection entry amounts to (82093AA,
    3.2.4; SDM volume 3, 11.11), or None if the entry is masked, level or of a special kind."""
    delivery = entry >> 8 & 7
    if entry & (MASKED | LEVEL) or delivery not in (FIXED, LOWEST_PRIORITY):
        return None
    address = 0xfee00000 | (entry >> 56) << 12
    if entry & LOGICAL:
        address |= 1 << 2
    if delivery == LOWEST_PRIORITY:
        address |= 1 << 3
    return address, entry & 0xff | delivery << 8


class Line:
    """One device's interrupt line."""

    def __init__(self, interrupts: Interrupts, pin: int):
        self._interrupts, self.pin, self.pulses = interrupts, pin, 0

    def pulse(self) -> None:
        self.pulses += 1
        self._interrupts.pulse(self.pin)


class Interrupts:
    """All lines of one VM; `vm` is None where there is no KVM, and pulses are only counted."""

    def __init__(self, vm):
        self.vm = vm
        self._lock = threading.Lock()
        self._doorbells: dict[int, int] = {}    # pin -> eventfd that raises it
        self._completions: dict[int, int] = {}  # pin -> the same, and signalled by a ring
        self._wired: set[int] = set()           # eventfds that are irqfds now
        self._msis: dict[int, tuple] = {}       # pin -> the MSI that its GSI is routed as now
        self._next = FIRST_PIN
        if vm:
            vm.set_routing(self._routes({}))

    def line(self) -> Line:
        """The next free pin's."""
        if self._next > LAST_PIN:
            raise RuntimeError(f"interrupt pin {self._next}; wanted at most {LAST_PIN}")
        self._next += 1
        return Line(self, self._next - 1)

    def pulse(self, pin: int) -> None:
        if self.vm:
            self.vm.pulse(pin)

    def claim(self, pin: int) -> int:
        """An eventfd that raises the pin's interrupt when a doorbell in the kernel signals it."""
        with self._lock:
            self._doorbells[pin] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._update()
            return self._doorbells[pin]

    def completions(self, pin: int) -> int:
        """One more for a claimed pin, whose signal always comes by the exit path's collector."""
        with self._lock:
            self._completions[pin] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._update()
            return self._completions[pin]

    def collector(self, slot: int) -> int:
        """An eventfd that raises nothing, but comes by the exit path's collector; the caller's."""
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.vm.irqfd(fd, self.vm.lib.KVM_IOAPIC_NUM_PINS + slot, True)
        return fd

    def release(self, pin: int) -> None:
        """Undo `claim` and `completions`; nobody in the kernel signals the eventfds any more."""
        with self._lock:
            fds = [fds.pop(pin) for fds in (self._doorbells, self._completions) if pin in fds]
            self._unwire(pin, set(fds))
            self._update()
            for fd in fds:
                os.close(fd)

    def ioapic_changed(self) -> None:
        """The guest wrote the I/O APIC."""
        with self._lock:
            self._update()

    def _update(self) -> None:
        """Irqfds and routes as the I/O APIC has its pins now; a route changes with no irqfd on it."""
        pins = self.vm.ioapic_pins() if self._doorbells else []
        masked = {pin for pin in self._doorbells if pins[pin] & MASKED}
        msis = {pin: NOWHERE for pin in masked & set(self._completions)}
        msis |= {pin: msi for pin in set(self._doorbells) - masked if (msi := msi_of(pins[pin]))}
        wanted = {fd: pin for pin, fd in self._completions.items()}
        wanted |= {fd: pin for pin, fd in self._doorbells.items() if pin not in masked}
        for fds in (self._doorbells, self._completions):
            for pin, fd in fds.items():
                if fd not in wanted or msis.get(pin) != self._msis.get(pin):
                    self._unwire(pin, {fd})
        if msis != self._msis:
            self.vm.set_routing(self._routes(msis))
            self._msis = msis
        for fd, pin in wanted.items():
            if fd not in self._wired:
                self.vm.irqfd(fd, pin, True)
                self._wired.add(fd)

    def _unwire(self, pin: int, fds: set[int]) -> None:
        for fd in fds & self._wired:
            self.vm.irqfd(fd, pin, False)
            self._wired.discard(fd)

    def _routes(self, msis: dict[int, tuple]) -> list[dict]:
        lib = self.vm.lib
        pins = [self._msi(pin, msis[pin]) if pin in msis else
                {"gsi": pin, "type": lib.KVM_IRQ_ROUTING_IRQCHIP, "irqchip": lib.KVM_IRQCHIP_IOAPIC,
                 "pin": pin} for pin in range(lib.KVM_IOAPIC_NUM_PINS)]
        return pins + [self._msi(lib.KVM_IOAPIC_NUM_PINS + slot, NOWHERE) for slot in range(PAGES)]

    def _msi(self, gsi: int, msi: tuple[int, int]) -> dict:
        return {"gsi": gsi, "type": self.vm.lib.KVM_IRQ_ROUTING_MSI, "address_lo": msi[0], "data": msi[1]}

    def close(self) -> None:
        for pin in list(self._doorbells):
            self.release(pin)
