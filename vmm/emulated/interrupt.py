"""An INT instruction that KVM refused, delivered to a vCPU of its own."""

from __future__ import annotations

from collections.abc import Iterable

from ..devmodel.view import View
from ..executors.executor import Stop
from ..executors.guest_map import Range
from ..kvm.slots import Slot
from .delivery import NotEmulated, Shutdown, deliver, raised
from .linear import Physical


def interrupt(state: View, stop: Stop, before: bytes, slots: Iterable[Slot]) -> str:
    """Have `state`, whose rip is behind the INT, be in its handler.  `before`: the byte before that.  "", or why it
    cannot be."""
    memory = Physical(Range(each.gpa, each.bytes, each.address, each.read_only) for each in slots)
    try:
        deliver(state, memory, raised(stop, before))
    except (NotEmulated, Shutdown) as error:
        return f"INT {stop.vector}: {error}"
    return ""
