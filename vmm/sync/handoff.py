"""Writes that the exit path declined, taken over in order, each exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..devmodel.exit_path import DECLINES


class LostDecline(RuntimeError):
    """The exit path had no room for a decline; a write by the guest is lost."""


class Declined(NamedTuple):
    """One write: register `offset` of the device in slot `device`; `reason` is the device's."""

    device: int
    offset: int
    width: int      # bytes
    value: int
    reason: int


def take_declined(exits) -> Iterator[Declined]:
    """Read a vCPU's outbox empty.  Called by the vCPU's own thread, outside KVM_RUN, so the
    writer stands still.  Raises LostDecline if there was ever more than the outbox holds."""
    outbox, inbox = exits.outbox, exits.inbox
    if outbox.lost:
        raise LostDecline(f"{outbox.lost} declined writes found the outbox full; wanted at most "
                          f"{DECLINES} between two returns of KVM_RUN")
    while (tail := inbox.tail) != outbox.head:
        entry = outbox.ring[tail % DECLINES]
        access = entry.access
        taken = Declined(access.device, access.offset, access.width, access.value, entry.reason)
        inbox.tail = (tail + 1) & 0xffffffff
        yield taken
