"""Messages that interrupt a CPU: what a redirection entry amounts to, and whose a message is."""

from __future__ import annotations

from ..devmodel.exit_path import MESSAGE_OWNER_SHIFT, VCPUS

MASKED, LEVEL = 1 << 16, 1 << 15
LOGICAL = 1 << 11
FIXED, LOWEST_PRIORITY = 0, 1
NOWHERE = (0xfee00000 | 0xfe << 12, 0, 0x20)    # an MSI to local APIC 0xfe, which no vCPU has
assert VCPUS < 0xfe

Message = tuple[int, int, int]      # address, its upper half, data


def msi_of(entry: int) -> Message | None:
    """The MSI that an edge on a redirection entry amounts to (82093AA, 3.2.4; SDM volume 3,
    11.11), or None if the entry is masked, level or of a special kind."""
    delivery = entry >> 8 & 7
    if entry & (MASKED | LEVEL) or delivery not in (FIXED, LOWEST_PRIORITY):
        return None
    address = 0xfee00000 | (entry >> 56) << 12
    if entry & LOGICAL:
        address |= 1 << 2
    if delivery == LOWEST_PRIORITY:
        address |= 1 << 3
    return address, 0, entry & 0xff | delivery << 8


def owned(message: Message, slot: int) -> Message:
    """The message, as one of the device in `slot`; of none if that is -1."""
    low, high, data = message
    return low, high, data & (1 << MESSAGE_OWNER_SHIFT) - 1 | slot + 1 << MESSAGE_OWNER_SHIFT
