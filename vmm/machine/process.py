"""The VMs with vCPUs of this process.  One that has offload on is the only one: the exit path knows a VM by its
process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import UserError
from ..offload.objects import OffloadError

if TYPE_CHECKING:
    from .machine import Machine

_live: set[Machine] = set()
_joining = threading.Lock()     # held while one comes into the process, or onto the exit path


def join(machine: Machine) -> None:
    """Raises UserError."""
    with _joining:
        if any(other.bpf and other.bpf.attached for other in _live):
            raise UserError("another VM of this process has offload on; wanted a process for each")
        _live.add(machine)


def leave(machine: Machine) -> None:
    """Also where it never joined."""
    _live.discard(machine)


@contextmanager
def alone() -> Iterator[None]:
    """No VM comes into the process for the block.  Raises OffloadError if there are several."""
    with _joining:
        if len(_live) > 1:
            raise OffloadError(f"{len(_live)} VMs in this process; wanted a process for each with offload on")
        yield
