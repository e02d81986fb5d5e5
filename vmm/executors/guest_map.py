"""Guest-physical memory as an emulator has it: RAM and ROM where KVM has memory slots, and accesses elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..kvm.addresses import IOAPIC, PCI_HIGH, PCI_HIGH_BYTES
from ..kvm.bus import AddressSpace
from ..kvm.slots import Slot

ALL = ((0, 1 << 32), (PCI_HIGH, PCI_HIGH + PCI_HIGH_BYTES))
BESIDE_KVM = ((0, IOAPIC), *ALL[1:])        # the interrupt controllers are KVM's


@dataclass(frozen=True)
class Window:
    """Guest-physical addresses where accesses are told."""

    gpa: int
    bytes: int


@dataclass(frozen=True)
class Range:
    """Guest memory: guest-physical address, bytes, address in this process."""

    gpa: int
    bytes: int
    address: int
    read_only: bool = False


def guest_map(slots: Iterable[Slot], mmio: AddressSpace, told: Iterable[tuple[int, int]]) \
        -> tuple[list[Range], list[Window], list[Range]]:
    """Memory; windows of what is `told` (beginnings, ends) without it; and registers in these that are read as
    memory."""
    ranges = [Range(each.gpa, each.bytes, each.address, each.read_only) for each in slots]
    registers = [each for each in ranges if each.read_only and mmio.find(each.gpa, 1)[0]]
    memory, windows = [each for each in ranges if each not in registers], []
    for at, end in told:
        for each in sorted(memory, key=lambda each: each.gpa):
            if at < each.gpa < end:
                windows.append(Window(at, each.gpa - at))
            if at < each.gpa + each.bytes:
                at = max(at, each.gpa + each.bytes)
        if at < end:
            windows.append(Window(at, end - at))
    return memory, windows, registers
