"""A vCPU's state as bytes, and back: hostile until each field was checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from ..devmodel.device_layout import hash_of
from ..devmodel.layout import BlockLayout, in_order, layout_block
from ..devmodel.vcpu import VERSION, VcpuState
from ..devmodel.view import View
from ..sync import snapshot
from .check import problems


@dataclass(frozen=True)
class StateLayout:
    """As a snapshot wants a device's."""

    state: BlockLayout = field(default_factory=lambda: layout_block(VcpuState))
    c_name: str = "vcpu_state"
    version: int = VERSION

    @property
    def hash(self) -> int:
        return hash_of(in_order([self.state]))


@cache
def _layout() -> StateLayout:
    return StateLayout()


def pack(state: View) -> bytes:
    """msgpack: the schema's name, version and hash, and every field by its name."""
    return snapshot.pack(_layout(), state)


def unpack(data: bytes, state: View) -> None:
    """Write what was packed into `state`.  Raises SnapshotError, with the field, and has written nothing then."""
    def check(fields: dict) -> None:
        for where, found, wanted in problems(fields):
            raise snapshot.SnapshotError(f"{where}: {found:#x}; wanted {wanted}")
    snapshot.restore(_layout(), state, data, check)
