"""The I/O APIC of a PC (82093AA datasheet, 290566), with 24 pins, as KVM has it (arch/x86/kvm/ioapic.c)."""

from __future__ import annotations

from collections.abc import Callable

from .message import Message, of_redirection

PINS = 24
BASE, BYTES = 0xfec00000, 0x100
SELECT, WINDOW, EOI = 0x00, 0x10, 0x40              # offsets; the last one since version 0x20 (ICH, 5.8.4)
ID, VERSION, ARBITRATION, REDIRECTIONS = 0, 1, 2, 0x10      # indirect registers
VERSION_OF_KVM, VERSION_WITH_EOI = 0x11, 0x20
MASKED, LEVEL, REMOTE_IRR, SENDING = 1 << 16, 1 << 15, 1 << 14, 1 << 12     # of an entry
READ_ONLY = REMOTE_IRR | SENDING
LOW_HALF = 0xffffffff


class IoApic:
    """`send` takes a message to the local APICs, and tells whether one took it."""

    def __init__(self, send: Callable[[Message], bool], version: int = VERSION_OF_KVM):
        self._send, self.version = send, version
        self.id = self.selected = 0
        self.entries = [MASKED] * PINS
        self.lines = 0              # pins that are high

    # pins

    def set_line(self, pin: int, level: bool) -> None:
        """A pin has that level now.  An edge while it is masked is lost (82093AA, 3.2.4)."""
        bit = 1 << pin
        if not level:
            self.lines &= ~bit
            return
        rises, self.lines = not self.lines & bit, self.lines | bit
        if rises or self.entries[pin] & LEVEL:
            self._serve(pin)

    def _serve(self, pin: int) -> None:
        """Send a pin's interrupt, unless it is masked, or one of its level is on its way or served."""
        entry = self.entries[pin]
        if entry & MASKED or (entry & LEVEL and entry & REMOTE_IRR):
            return
        if self._send(of_redirection(entry)) and entry & LEVEL:
            self.entries[pin] |= REMOTE_IRR

    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC is through with a level-triggered interrupt; a pin that is still high raises it again."""
        for pin, entry in enumerate(self.entries):
            if entry & 0xff == vector and entry & LEVEL:
                self.entries[pin] &= ~REMOTE_IRR
                if self.lines >> pin & 1:
                    self._serve(pin)

    # registers

    def read(self, offset: int, width: int) -> int:
        if width not in (1, 2, 4, 8):
            return 0
        value = self.selected if offset == SELECT else self._register() if offset == WINDOW else 0
        return value & (1 << 8 * width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        """Of eight bytes the lower four count."""
        if width not in (1, 2, 4, 8):
            return
        value &= (1 << 8 * min(width, 4)) - 1
        if offset == SELECT:
            self.selected = value & 0xff
        elif offset == WINDOW:
            self._set_register(value)
        elif offset == EOI and self.version >= VERSION_WITH_EOI:
            self.end_of_interrupt(value & 0xff)

    def _register(self) -> int:
        """The indirect register that is selected; those that there are not read as ones."""
        if self.selected in (ID, ARBITRATION):
            return self.id << 24
        if self.selected == VERSION:
            return PINS - 1 << 16 | self.version
        pin, high = divmod(self.selected - REDIRECTIONS, 2)
        if not 0 <= pin < PINS:
            return LOW_HALF
        return self.entries[pin] >> 32 * high & LOW_HALF

    def _set_register(self, value: int) -> None:
        pin, high = divmod(self.selected - REDIRECTIONS, 2)
        if self.selected == ID:
            self.id = value >> 24 & 0xf
        elif 0 <= pin < PINS:
            self._set_entry(pin, high, value)

    def _set_entry(self, pin: int, high: int, value: int) -> None:
        """Half an entry.  One that is made edge-triggered is served no more: by this Linux gives an EOI to chips
        without the register for it.  A level that waited behind a mask is sent."""
        old = self.entries[pin]
        entry = old & LOW_HALF | value << 32 if high else old & ~LOW_HALF | value & ~READ_ONLY | old & READ_ONLY
        if not entry & LEVEL:
            entry &= ~REMOTE_IRR
        self.entries[pin] = entry
        if entry & LEVEL and self.lines >> pin & 1:
            self._serve(pin)
