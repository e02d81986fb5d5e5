"""Messages that interrupt a CPU: what a redirection entry amounts to, and whose a message is."""

from __future__ import annotations

from ..devmodel.exit_path import COLLECT_ADDRESS, COLLECT_VECTOR, MESSAGE_OWNER_SHIFT, VCPUS

MASKED, LEVEL = 1 << 16, 1 << 15
LOGICAL = 1 << 11
FIXED, LOWEST_PRIORITY = 0, 1
assert VCPUS < COLLECT_ADDRESS >> 12 & 0xff     # nobody is interrupted by that

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


def of_guest(message: Message) -> Message:
    """What a guest has chosen, without the bits of its data that no CPU looks at (SDM volume 3, 11.11.2)."""
    low, high, data = message
    return low, high, data & (1 << MESSAGE_OWNER_SHIFT) - 1


def collecting(slot: int, queue: int) -> Message:
    """The message that has the exit path collect what has come back to a queue of the device in `slot`."""
    return COLLECT_ADDRESS, 0, COLLECT_VECTOR + queue | slot + 1 << MESSAGE_OWNER_SHIFT
