"""Where a device is, and which writes of the guest's the kernel half takes for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..devmodel.exit_path import Action, Bus
from ..devmodel.layout import PAGE
from ..devmodel.record import record
from ..devmodel.recording import NO_QUEUE
from ..sync.ownership import Ownership
from .recorded import Recorder
from .timers import Timers


@dataclass
class Place:
    """Where a device is put, by the machine."""

    slot: int                   # of its program on the exit path
    bus: Bus
    base: int | None            # guest-physical address or port; None while the guest has it nowhere
    page: int                   # address of the first register page in this process
    first_page: int             # its number among all devices' pages
    state: int                  # address of the shared state
    state_fd: int
    lines: list                 # interrupts.Line: one, or one a queue and one for all else
    memory: object              # GuestMemory
    own_memory: int = 0         # address of the device's memory, or 0
    own_memory_fd: int = -1     # of the map that it lies in, or -1
    urings: int = 0            # address of its queues' io_urings, or 0
    urings_fd: int = -1        # of the map that they lie in, or -1
    timers: Timers | None = None    # of the machine
    keep: tuple = ()            # what must live as long as the device
    recorder: Recorder | None = None    # of what its Python half does, if that is recorded

    def at(self, offset: int) -> int:
        """The address or port of what lies `offset` bytes from its base."""
        assert self.base is not None
        return self.base + offset

    def ownership(self, *given: Any, queue: int = NO_QUEUE) -> Ownership:
        """Of a queue, or of the device, as Ownership takes it."""
        return self.recorder.ownership(*given, queue=queue) if self.recorder else Ownership(*given)


@record
class Routed:
    """A write that the kernel half takes."""

    address: int
    width: int
    action: Action
    offset: int
    target: int = 0
    queue: int = 0              # whose doorbell it is, if that matters
    interrupts: bool = False    # the device interrupts once it is done

    @property
    def page(self) -> int:
        """Which of the device's pages it is in."""
        return self.offset // PAGE
