"""What executors of ours show, held against what `off` shows: all of it has to be equal."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..devmodel.view import ffi
from .guest import Area, Guest

Found = tuple[str, str, str]        # where, what was found, what was wanted


class Shown(NamedTuple):
    """Of one executor, after a step."""

    guest: Guest
    outcome: dict[str, Any]         # what the step returned, and what is compared as values
    lines: list[bool]               # which interrupt lines were raised


def in_step(ours: Shown, off: Shown, free: dict[str, str]) -> Found | None:
    """The first difference."""
    return _values(ours.outcome, off.outcome, free) or _interrupts(ours, off) or areas(ours.guest, off.guest, free)


def _values(outcome: dict[str, Any], wanted: dict[str, Any], free: dict[str, str]) -> Found | None:
    """A value that one of them has not is as different as another one."""
    for name in [*wanted, *(outcome.keys() - wanted.keys())]:
        ours, theirs = outcome.get(name, "nothing"), wanted.get(name, "nothing")
        if ours != theirs and name not in free:
            return name, str(ours), str(theirs)
    return None


def _interrupts(ours: Shown, off: Shown) -> Found | None:
    """None may be missing, and none be there without a reason, unless the device's may be spurious."""
    if off.guest.cause & ~ours.guest.cause:
        return "the interrupt's cause", f"{ours.guest.cause:#x}", f"{off.guest.cause:#x} or more"
    for line, (raised, wanted) in enumerate(zip(ours.lines, off.lines)):
        if wanted and not raised:
            return f"interrupt of line {line}", "missing", "raised"
        if raised and not wanted and not ours.guest.spurious:
            return f"interrupt of line {line}", "raised", "none"
    return None


def areas(guest: Guest, off: Guest, free: dict[str, str]) -> Found | None:
    """Of areas that both have, in the same order."""
    theirs = iter(off.areas)
    for area in guest.areas:
        wanted = next(each for each in theirs if each.name == area.name)
        if area.name not in free and (found := _byte(wanted, area)):
            return found
    return None


def _byte(wanted: Area, found: Area) -> Found | None:
    """The first byte that differs."""
    theirs, ours = (ffi.buffer(ffi.cast("char *", area.address), area.size) for area in (wanted, found))
    if theirs == ours:      # memcmp
        return None
    at = next(i for i in range(wanted.size) if theirs[i] != ours[i])
    end = min(at + 8, wanted.size)
    return (f"{wanted.name}, {wanted.tell(at)}", ours[at:end].hex(" "), theirs[at:end].hex(" "))
