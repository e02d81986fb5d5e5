"""What a vCPU says of itself: KVM's supported CPUID with this vCPU's place in the machine
(Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).  One package, a thread a core, APIC
ids from 0."""

from __future__ import annotations

from collections.abc import Iterable

TSC_DEADLINE, HYPERVISOR = 1 << 24, 1 << 31     # leaf 1, ecx; the APIC timer's is KVM's to emulate
HTT = 1 << 28                                   # leaf 1, edx: more than one logical CPU
CACHES, TOPOLOGY, TOPOLOGY_2 = 4, 0xb, 0x1f     # leaves
THREAD, CORE = 1, 2                             # kinds of levels in TOPOLOGY
BY_INDEX = 1                                    # KVM_CPUID_FLAG_SIGNIFCANT_INDEX


def adapt(entries: Iterable, index: int, cpus: int, tsc_deadline: bool) -> list[dict]:
    """KVM's `entries` as vCPU `index` of `cpus` is to have them."""
    fields = ("function", "index", "flags", "eax", "ebx", "ecx", "edx")
    found = [{name: getattr(entry, name) for name in fields} for entry in entries]
    levels = any(entry["function"] == TOPOLOGY for entry in found)
    found = [entry for entry in found if entry["function"] not in (TOPOLOGY, TOPOLOGY_2)]
    for entry in found:
        _place(entry, index, cpus, tsc_deadline)
    return found + (_topology(index, cpus) if levels else [])


def _place(entry: dict, index: int, cpus: int, tsc_deadline: bool) -> None:
    if entry["function"] == 1:
        entry["ebx"] = entry["ebx"] & 0x0000ffff | cpus << 16 | index << 24
        entry["ecx"] |= HYPERVISOR | (TSC_DEADLINE if tsc_deadline else 0)
        entry["edx"] = entry["edx"] & ~HTT | (HTT if cpus > 1 else 0)
    elif entry["function"] == CACHES and entry["eax"] & 0x1f:
        shared = cpus - 1 if entry["eax"] >> 5 & 7 == 3 else 0     # the last level is of all cores
        entry["eax"] = entry["eax"] & 0x3fff | shared << 14 | min(cpus - 1, 63) << 26
    elif entry["function"] == 0x80000008:
        entry["ecx"] = entry["ecx"] & ~0xf0ff | _bits(cpus) << 12 | cpus - 1
    elif entry["function"] == 0x8000001e:
        entry["eax"], entry["ebx"], entry["ecx"] = index, index, 0


def _bits(cpus: int) -> int:
    """Bits of an APIC id that tell CPUs of the package apart."""
    return (cpus - 1).bit_length()


def _topology(index: int, cpus: int) -> list[dict]:
    """Leaf 0xb: bits of the APIC id below the next level, CPUs of this one, its kind."""
    levels = ((0, 1, THREAD << 8), (_bits(cpus), cpus, CORE << 8 | 1), (0, 0, 2))
    return [{"function": TOPOLOGY, "index": i, "flags": BY_INDEX, "eax": bits, "ebx": count, "ecx": kind,
             "edx": index} for i, (bits, count, kind) in enumerate(levels)]
