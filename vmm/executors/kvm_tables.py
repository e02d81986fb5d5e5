"""Which field of the declared state is which of KVM's structs (Documentation/virt/kvm/api.rst): tables by which
vmm/native/kvm_state.c copies them, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..devmodel.layout import layout_block
from ..devmodel.vcpu import APIC_REGISTERS, VcpuState
from .kvm_special import CONTROL, TABLES
from .state import ACCESS, GENERAL, SEGMENTS

EVENTS = {                  # field of ours -> of struct kvm_vcpu_events
    "exception_injected": "exception.injected", "exception_pending": "exception.pending",
    "exception_nr": "exception.nr", "exception_has_error": "exception.has_error_code",
    "exception_error": "exception.error_code", "exception_has_payload": "exception_has_payload",
    "exception_payload": "exception_payload", "interrupt_injected": "interrupt.injected",
    "interrupt_nr": "interrupt.nr", "interrupt_soft": "interrupt.soft", "shadow": "interrupt.shadow",
    "nmi_injected": "nmi.injected", "nmi_pending": "nmi.pending", "nmi_masked": "nmi.masked",
    "sipi_vector": "sipi_vector", "smm": "smi.smm", "smi_pending": "smi.pending",
    "smm_inside_nmi": "smi.smm_inside_nmi", "latched_init": "smi.latched_init",
    "triple_fault": "triple_fault.pending"}
WORD = 8                    # bytes


@dataclass(frozen=True)
class Part:
    """What KVM_GET_`request` and KVM_SET_`request` have in a `struct kind`; `what` it is of the state, for errors."""

    what: str
    request: str
    kind: str
    fields: dict[str, str]              # of the state -> of the struct; array elements by their number
    constants: dict[str, Any] = field(default_factory=dict)     # of the struct, when it is given
    size: int = 0                       # bytes of each of its fields, where their type is not theirs


def _special() -> Iterator[tuple[str, str]]:
    yield from ((f"control.{name}", name) for name in CONTROL)
    for name in SEGMENTS:
        yield from ((f"segments.{name}.{word}", f"{name}.{word}") for word in ("base", "limit", "selector"))
        yield from ((f"segments.{name}.access.{bits}", f"{name}.{bits}") for bits in ACCESS)
    for name in TABLES:
        yield from ((f"segments.{name}.{word}", f"{name}.{word}") for word in ("base", "limit"))
    yield from (("control.pdptrs_valid", "flags"), ("control.pdptr", "pdptrs"))


SPECIAL = Part("control", "SREGS2", "kvm_sregs2", dict(_special()))
REGISTERS = Part("general", "REGS", "kvm_regs", {f"general.{name}": name for name in GENERAL})
XCR0 = Part("control.xcr0", "XCRS", "kvm_xcrs", {"control.xcr0": "xcrs.0.value"}, {"nr_xcrs": 1})
XSAVE = Part("xsave", "XSAVE", "kvm_xsave", {"xsave": "region"})
DEBUG = Part("debug", "DEBUGREGS", "kvm_debugregs", {"debug.dr": "db", "debug.dr6": "dr6", "debug.dr7": "dr7"})
APIC = Part("apic", "LAPIC", "kvm_lapic_state", {f"apic.{i}": f"regs.{16 * i}" for i in range(APIC_REGISTERS)}, size=4)
TSC_OFFSET = Part("timing.tsc_offset", "DEVICE_ATTR", "tsc_offset", {"timing.tsc_offset": "ticks"})
ACTIVITY = Part("activity", "MP_STATE", "kvm_mp_state", {"activity": "mp_state"})


def events(flags: int) -> Part:
    """`flags` says which of those that need not be given are (KVM_VCPUEVENT_VALID_*)."""
    return Part("events", "VCPU_EVENTS", "kvm_vcpu_events",
                {f"events.{ours}": theirs for ours, theirs in EVENTS.items()}, {"flags": flags})


@dataclass(frozen=True)
class Place:
    """Of a field of the state, or bits of one: where, in bytes, and the bits' lowest and mask."""

    at: int
    bytes: int
    low: int = 0
    mask: int = (1 << 64) - 1


@cache
def place_of(path: str) -> Place:
    """`segments.cs.access.type`, `apic.3`, or a whole block or array."""
    block, at, size = layout_block(VcpuState), 0, 0
    names = path.split(".")
    for depth, name in enumerate(names):
        item = block.field(name)
        at, size = at + item.offset, item.size
        if item.block and item.type.count is None:
            block = item.block
            continue
        if rest := names[depth + 1:]:
            return _within(item, rest[0], at)
    return Place(at, size)


def _within(item: Any, name: str, at: int) -> Place:
    """Of an array an element, or all where its elements are blocks; of a word its bits."""
    if item.block:
        return Place(at, item.size)
    if item.type.count:
        return Place(at + int(name) * item.type.size, item.type.size)
    bits = next(bits for bits in item.type.bits if bits.name == name)
    return Place(at, item.size, bits.low, (1 << bits.width) - 1)


@cache
def _types(struct: Any) -> dict[str, Any]:
    return {name: item.type for name, item in struct.fields}


def _theirs(ffi: Any, kind: str, path: str) -> tuple[int, int]:
    """Offset and bytes of a field of a struct."""
    found, names = ffi.typeof(f"struct {kind}"), []
    for name in path.split("."):
        names.append(int(name) if found.kind == "array" else name)
        found = found.item if found.kind == "array" else _types(found)[name]
    return ffi.offsetof(f"struct {kind}", *names), ffi.sizeof(found)


def table(ffi: Any, part: Part) -> list[dict[str, int]]:
    """Of struct kvm_field.  Raises ValueError for fields that are no words, and differ in size."""
    found = []
    for ours, theirs in part.fields.items():
        place, (at, size) = place_of(ours), _theirs(ffi, part.kind, theirs)
        if place.bytes > WORD and place.bytes != size:
            raise ValueError(f"{ours}: {place.bytes} bytes, {theirs} of struct {part.kind} {size}; wanted as many")
        found.append({"ours": place.at, "theirs": at, "our_bytes": place.bytes,
                      "their_bytes": part.size or size, "low": place.low, "mask": place.mask})
    return found
