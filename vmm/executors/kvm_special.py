"""Special registers as KVM has them (struct kvm_sregs and kvm_sregs2), and the declared state."""

from __future__ import annotations

from typing import Any

from .state import ACCESS, SEGMENTS

CONTROL = "cr0 cr2 cr3 cr4 cr8 efer apic_base".split()
TABLES = ("gdt", "idt")


def from_special(found: Any, state: Any) -> None:
    """Segments, tables and control registers, into a VcpuState."""
    for name in SEGMENTS:
        theirs, ours = getattr(found, name), getattr(state.segments, name)
        ours.base, ours.limit, ours.selector = theirs.base, theirs.limit, theirs.selector
        ours.access = sum((getattr(theirs, bit) & mask) << low for bit, (low, mask) in ACCESS.items())
    for name in TABLES:
        theirs, ours = getattr(found, name), getattr(state.segments, name)
        ours.base, ours.limit = theirs.base, theirs.limit
    for name in CONTROL:
        setattr(state.control, name, getattr(found, name))


def to_special(fields: dict[str, Any]) -> dict[str, Any]:
    """The same of a state as `to_dict` has it, for a struct of KVM's."""
    values: dict[str, Any] = {name: fields["control"][name] for name in CONTROL}
    for name in SEGMENTS:
        ours = fields["segments"][name]
        values[name] = {"base": ours["base"], "limit": ours["limit"], "selector": ours["selector"],
                        **{bit: ours["access"] >> low & mask for bit, (low, mask) in ACCESS.items()}}
    return values | {name: fields["segments"][name] for name in TABLES}
