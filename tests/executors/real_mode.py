"""States of code in real mode, for an emulator without a machine."""

from typing import Any

from vmm.devmodel.view import View
from vmm.executors.reset import reset
from vmm.executors.state import blank, write_all


def state_at(rip: int, **bases: int) -> View:
    """Of a CPU that was reset, about to run what is at `rip`: cs begins at 0, other segments where `bases` say."""
    state = blank()
    write_all(state, reset())
    for name, base in {"cs": 0, **bases}.items():
        segment: Any = getattr(state.segments, name)
        segment.selector, segment.base = base >> 4, base
    state.general.rip = rip
    return state
