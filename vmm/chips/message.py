"""Interrupt messages: what I/O APIC pins, devices (MSI) and local APICs send to local APICs."""

from __future__ import annotations

import enum
from typing import NamedTuple

ANY_XAPIC = 0xff                    # destination: every one that is in xAPIC mode (SDM 3, 11.6.2.1)
ANY_X2APIC = 0xffffffff             # the same in x2APIC mode (SDM 3, 11.12.9)
LOWEST_VECTOR = 16                  # those below it are reserved (SDM 3, 11.5.2)


class Mode(enum.IntEnum):
    """Delivery modes (SDM 3, 11.6.1)."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    RESERVED = 3
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTERNAL = 7


class Shorthand(enum.IntEnum):
    """Destinations that an IPI may have in place of a number (SDM 3, 11.6.1)."""

    NONE = 0
    SELF = 1
    ALL = 2
    OTHERS = 3


class Message(NamedTuple):
    """One interrupt message."""

    mode: int
    vector: int
    destination: int            # number of an APIC, or a logical one
    logical: bool = False
    level: bool = False         # level-triggered
    asserted: bool = True       # of a level: False takes an INIT back, which nobody heeds
    shorthand: int = Shorthand.NONE
    lowest: bool = False        # one receiver is enough, whatever the mode (an MSI's redirection hint)

    @property
    def to_one(self) -> bool:
        """Whether one of those that are meant gets it, and not all of them."""
        return self.lowest or self.mode == Mode.LOWEST_PRIORITY


def of_msi(address: int, data: int) -> Message:
    """What a write of `data` to that address is (SDM 3, 11.11.1 and 11.11.2)."""
    return Message(mode=data >> 8 & 7, vector=data & 0xff, destination=address >> 12 & 0xff,
                   logical=bool(address & 1 << 2), level=bool(data & 1 << 15), lowest=bool(address & 1 << 3))


def of_redirection(entry: int) -> Message:
    """What an I/O APIC's redirection entry says (82093AA, 3.2.4)."""
    return Message(mode=entry >> 8 & 7, vector=entry & 0xff, destination=entry >> 56 & 0xff,
                   logical=bool(entry & 1 << 11), level=bool(entry & 1 << 15))


def of_command(low: int, destination: int) -> Message:
    """What the lower half of a local APIC's interrupt command register says (SDM 3, 11.6.1)."""
    return Message(mode=low >> 8 & 7, vector=low & 0xff, destination=destination, logical=bool(low & 1 << 11),
                   level=bool(low & 1 << 15), asserted=bool(low & 1 << 14), shorthand=low >> 18 & 3)
