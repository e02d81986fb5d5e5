"""Writes that the exit path declined, taken over in order, each exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..devmodel.exit_path import DECLINES
from ..devmodel.exit_path import Declined as DeclinedBlock
from ..devmodel.layout import layout_block
from ..devmodel.view import address_of, ffi, pointer_to, struct_of
from ._shared import lib


class LostDecline(RuntimeError):
    """The exit path had no room for a decline; a write by the guest is lost."""


class Declined(NamedTuple):
    """One write to register `offset` of the device in slot `device`; `reason` is the device's."""

    value: int
    device: int
    offset: int
    width: int      # bytes
    reason: int
    reserved: int


class Declines:
    """The reading side of one vCPU's outbox."""

    def __init__(self, exits, machine):
        """`exits` is the view of the vCPU's struct, `machine` that of the VM's."""
        self._keep = exits, machine
        self._head = pointer_to(exits.outbox, "head")
        self._lost = pointer_to(exits.outbox, "lost")
        self._tail = pointer_to(exits.inbox, "tail")
        self._unpack = struct_of(layout_block(DeclinedBlock)).unpack_from
        self._size = layout_block(DeclinedBlock).size
        self._ring_address = address_of(exits.outbox.ring[0])
        self._ring = memoryview(ffi.buffer(ffi.cast("char *", self._ring_address), self._size * DECLINES))
        self._taken = int(ffi.cast("uintptr_t", pointer_to(machine.user, "declined")))

    @property
    def places(self):
        """For C, which reads them too: pointers to how many there were, how many of them were read, how many of all
        vCPUs' were, each free running; and the address of the ring."""
        return self._head, self._tail, self._taken, self._ring_address

    def take(self) -> Iterator[Declined]:
        """Read the outbox empty.  Called by the vCPU's own thread, outside KVM_RUN, so that the
        writer stands still.  Raises LostDecline if there was ever more than it holds."""
        tail, head = self._tail[0], self._head[0]
        while tail != head:
            taken = Declined._make(self._unpack(self._ring, tail % DECLINES * self._size))
            tail = self._tail[0] = (tail + 1) & 0xffffffff
            lib.fetch_add32(self._taken, 1)
            yield taken
        if self._lost[0]:
            raise LostDecline(f"{self._lost[0]} declined writes found the outbox full; wanted at most "
                              f"{DECLINES} between two returns of KVM_RUN")
