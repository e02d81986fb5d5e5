"""What becomes of each field of a vCPU's state where an executor gets it, or gives it: nothing is dropped silently.

A field is *carried*, as it is; *rebuilt* by the executor, from other fields or from the host; or *refused*: a value of
it that the executor cannot have is an error by the field's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..devmodel.layout import BlockLayout, FieldLayout, layout_block
from ..devmodel.vcpu import VcpuState
from ..errors import UserError
from .check import problems


@dataclass(frozen=True)
class Carried:
    """As it is, by `how`: a request of KVM's, say."""

    how: str


@dataclass(frozen=True)
class Rebuilt:
    """Not taken over: made `out_of` something else, by which rule."""

    out_of: str


@dataclass(frozen=True)
class Refused:
    """Anything but the value of a vCPU that was reset; `why` the executor cannot have it."""

    why: str


Fate = Carried | Rebuilt | Refused


class NotTransferable(UserError):
    """A state that an executor cannot have: says which field, what was found and what was wanted."""


def refuse_impossible(fields: Mapping[str, Any]) -> None:
    """Of a state that no CPU can be in, the first field that is wrong.  Raises NotTransferable."""
    for where, found, wanted in problems(dict(fields)):
        raise NotTransferable(f"{where}: {found:#x}; wanted {wanted}")


def leaves(block: BlockLayout | None = None, where: str = "") -> Iterator[tuple[str, FieldLayout]]:
    """Each field of the state that is no block itself, by its path: `segments.cs.base`."""
    for item in (block or layout_block(VcpuState)).fields:
        if item.reserved:
            continue
        if item.block:
            yield from leaves(item.block, f"{where}{item.name}.")
        else:
            yield f"{where}{item.name}", item


def complete(fates: Mapping[str, Fate]) -> dict[str, Fate]:
    """The fate of each field; `fates` names fields, or blocks for all that is in them.  Raises ValueError unless there
    is one for each field."""
    found, used = {}, set()
    for path, _ in leaves():
        parts = path.split(".")
        names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        name = next((name for name in names if name in fates), None)
        if name is None:
            raise ValueError(f"{path}: no fate; wanted it carried, rebuilt or refused")
        found[path] = fates[name]
        used.add(name)
    if left := fates.keys() - used:
        raise ValueError(f"{min(left)}: no field of the state")
    return found
