"""Where interrupt lines (GSIs) lead: to pins of chips, or they are messages.  Entries and numbers are those of
KVM_SET_GSI_ROUTING (Documentation/virt/kvm/api.rst)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import UserError
from .ioapic import PINS

TO_CHIP, MESSAGE = 1, 2                 # types: KVM_IRQ_ROUTING_*
FIRST_PIC, SECOND_PIC, IOAPIC = 0, 1, 2         # chips: KVM_IRQCHIP_*
PINS_OF = {FIRST_PIC: 8, SECOND_PIC: 8, IOAPIC: PINS}
TIMER_PIN = 2                           # of the I/O APIC, for the timer's GSI 0; a PC's GSI 2 is the cascade
ISA_LINES = 16


class Route(NamedTuple):
    """What one GSI leads to."""

    pic_pins: tuple[int, ...] = ()      # those of the second from 8 on
    ioapic_pins: tuple[int, ...] = ()
    messages: tuple[tuple[int, int], ...] = ()      # address, data


NOWHERE = Route()
Routes = dict[int, Route]


def routes_of(entries: list[dict[str, Any]]) -> Routes:
    """Those that entries amount to; a GSI may have several."""
    routes: Routes = {}
    for entry in entries:
        pics, ioapics, messages = routes.get(entry["gsi"], NOWHERE)
        if entry["type"] == MESSAGE:
            address = entry["address_lo"] | entry.get("address_hi", 0) << 32
            messages += ((address, entry["data"]),)
        elif entry["type"] == TO_CHIP:
            chip, pin = _pin_of(entry)
            if chip == IOAPIC:
                ioapics += (pin,)
            else:
                pics += (pin + 8 * chip,)
        else:
            raise UserError(f"route of GSI {entry['gsi']}: type {entry['type']}; wanted {TO_CHIP} (a chip's pin) or "
                            f"{MESSAGE} (a message)")
        routes[entry["gsi"]] = Route(pics, ioapics, messages)
    return routes


def _pin_of(entry: dict[str, Any]) -> tuple[int, int]:
    chip, pin = entry["irqchip"], entry["pin"]
    if not 0 <= pin < PINS_OF.get(chip, 0):
        raise UserError(f"route of GSI {entry['gsi']}: pin {pin} of chip {chip}; wanted one of "
                        f"{', '.join(f'{count} of chip {each}' for each, count in PINS_OF.items())}")
    return chip, pin


def pc_routes() -> Routes:
    """A PC's: ISA lines lead to both kinds of chips, the timer's to pin 2 of the I/O APIC."""
    routes = {gsi: Route((gsi,) if gsi < ISA_LINES else (), (gsi,)) for gsi in range(PINS) if gsi != TIMER_PIN}
    routes[0] = Route((0,), (TIMER_PIN,))
    return routes
