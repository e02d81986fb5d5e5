"""The in-kernel interrupt controllers: what leads to them, and what a guest has told them."""

from __future__ import annotations

from collections.abc import Container

from ..devmodel.record import record
from .addresses import CASCADE, PIC_PINS, PIT_PIN


@record
class Chips:
    """I/O APIC (82093AA) and both 8259s, as they are at one time."""

    pins: list[int]                 # redirection entries of the I/O APIC
    masks: tuple[int, int]          # interrupt mask registers of the 8259s

    def by_8259(self, gsi: int) -> bool:
        """Whether an edge on this GSI reaches the CPUs by an 8259."""
        first, second = self.masks
        if gsi >= PIC_PINS // 2:
            return gsi < PIC_PINS and not (second >> gsi - 8 & 1 or first >> CASCADE & 1)
        return not first >> gsi & 1


NO_CHIPS = Chips([], (0xff, 0xff))


def chip_routes(lib, others: Container[int]) -> list[dict]:
    """Where every GSI that is none of `others` leads: to the I/O APIC, a PC's interrupt 0, which is what KVM's
    timer raises, to pin 2; and to an 8259 those that a PC has there."""
    gsis = [gsi for gsi in range(lib.KVM_IOAPIC_NUM_PINS) if gsi not in others and gsi != PIT_PIN]
    found = [(gsi, lib.KVM_IRQCHIP_IOAPIC, PIT_PIN if gsi == 0 else gsi) for gsi in gsis]
    found += [(gsi, lib.KVM_IRQCHIP_PIC_SLAVE if gsi >= 8 else lib.KVM_IRQCHIP_PIC_MASTER, gsi % 8)
              for gsi in gsis if gsi < PIC_PINS]
    return [{"gsi": gsi, "type": lib.KVM_IRQ_ROUTING_IRQCHIP, "irqchip": chip, "pin": pin} for gsi, chip, pin in found]
