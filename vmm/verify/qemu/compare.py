"""What a driver can see of QEMU's device and of ours: status, used rings, interrupts, buffers and the image."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...testing.driver import NEEDS_RESET
from ...virtio.virtio_device import VERSION_1
from ..compare import Found, Shown, areas
from .guest import QemuGuest
from .known import FIRST, Known, known


def as_a_driver(qemu: Shown, off: Shown, free: dict[str, str]) -> Found | None:
    """The first difference that is not known.  Where a rule was broken `qemu` is astray from then on."""
    guest: Any = qemu.guest
    if guest.gone:
        return _gone(guest)
    if guest.astray:
        return None
    guest.count_used()
    if (guest.status | off.guest.device.page.status) & NEEDS_RESET:
        return _needs_reset(guest, off)
    found = _returned(qemu, off) or _status(guest, off) or _used(guest, off, free) or _seen(qemu, off) or \
        _interrupts(qemu, off, free) or areas(guest, off.guest, free)
    return None if not found or _is_known(guest, known(difference=found)) else found


def _is_known(guest: QemuGuest, why: Known | None) -> bool:
    """It is counted, and the two are apart until the next reset."""
    if why:
        guest.met[why.name] += 1
        guest.astray = why.name
    return why is not None


def _gone(guest: QemuGuest) -> Found | None:
    found = guest.gone
    if not _is_known(guest, known(qemu=found)):
        return "QEMU", found, "it to go on"
    guest.start_again()
    return None


def _needs_reset(guest: QemuGuest, off: Any) -> Found | None:
    """Each may end a request so that breaks a rule (2.1.2); that only one does has to be known."""
    ours = off.guest.device.broken if off.guest.device.page.status & NEEDS_RESET else ""
    theirs = guest.machine.qemu.said() if guest.status & NEEDS_RESET else ""
    if bool(ours) != bool(theirs) and not _is_known(guest, known(ours, theirs)):
        return f"DEVICE_NEEDS_RESET ({ours or theirs})", "set" if theirs else "not set", "set" if ours else "not set"
    guest.astray = "needs-reset"
    return None


def _returned(qemu: Shown, off: Shown) -> Found | None:
    name = "what the step returns"
    found, wanted = qemu.outcome[name], off.outcome[name]
    return (name, str(found), str(wanted)) if found != wanted else None


def _status(guest: QemuGuest, off: Any) -> Found | None:
    """A driver that does not accept VERSION_1 may find anything (6.2)."""
    wanted = off.guest.device.page.status
    if guest.status != wanted and off.guest.device.accepted & VERSION_1:
        return f"status of {guest.device.name}", f"{guest.status:#x}", f"{wanted:#x}"
    return None


def _used(guest: QemuGuest, off: Shown, free: dict[str, str]) -> Found | None:
    for ring in guest.driver.rings if guest.driver else []:
        (found, lengths), (wanted, wanted_lengths) = (ring.used_by(each.machine.memory) for each in (guest, off.guest))
        if found != wanted:
            return f"queue {ring.index}, used", str(found), str(wanted)
        apart = {(at, *pair) for at, pair in enumerate(zip(lengths, wanted_lengths)) if pair[0] != pair[1]}
        for _, length, other in sorted(apart - ring.apart) if "used length" not in free else []:
            difference = f"queue {ring.index}, used length", str(length), str(other)
            if not _is_counted(guest, difference):
                return difference
        ring.apart = apart
    return None


def _seen(qemu: Shown, off: Shown) -> Found | None:
    """At both ends of a wire; of lists what one of the two has more of."""
    for name, found in qemu.outcome.items():
        wanted = off.outcome[name]
        if isinstance(found, list):
            found, wanted = ([*(Counter(one) - Counter(other)).elements()]
                             for one, other in ((found, wanted), (wanted, found)))
        if found != wanted and not _is_counted(qemu.guest, difference := (name, str(found), str(wanted))):
            return difference
    return None


def _is_counted(guest: Any, difference: Found) -> bool:
    """As a known one, after which the two go on in step."""
    if why := known(difference=difference):
        guest.met[why.name] += 1
    return why is not None


def _interrupts(qemu: Any, off: Shown, free: dict[str, str]) -> Found | None:
    """Each, and its cause, which there is none of over PCI."""
    if "interrupts" in free:
        return None
    name = qemu.guest.device.name
    for line, (raised, wanted) in enumerate(zip(qemu.lines, off.lines)):
        if raised and not wanted and qemu.guest.first:
            qemu.guest.met[FIRST.name] += 1
            qemu.guest.forget(off.guest.cause)
        elif raised != wanted:
            told, other = ("raised" if each else "none" for each in (raised, wanted))
            found = f"{name}, interrupt of line {line}", told, other
            if not _is_counted(qemu.guest, found):
                return found
            qemu.guest.forget(off.guest.cause)
    return None if qemu.guest.cause == off.guest.cause else (
        "the interrupt's cause", f"{qemu.guest.cause:#x}", f"{off.guest.cause:#x}")
