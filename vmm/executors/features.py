"""Instructions that a guest's CPU may not have, as its CPUID tells: they raise #UD there (SDM 2, of each)."""

from __future__ import annotations

from typing import Any

XSAVE_FAMILY = frozenset("xgetbv xsetbv xsave xsave64 xsaveopt xsaveopt64 xsavec xsavec64 xsaves xsaves64 xrstor "
                         "xrstor64 xrstors xrstors64".split())
OSXSAVE = 1 << 18                           # of cr4
INVPCID = 7, "ebx", 10                      # leaf of CPUID, register, bit (SDM 2, CPUID)
XSAVE = 1, "ecx", 26
RDPRU = b"\x0f\x01\xfd", (0x80000008, "ebx", 4)     # APM 3, RDPRU
HINTS = frozenset(["clwb"])                 # that leave memory and registers as they are


class Features:
    """What one VM's CPUs have; `entries` are those of CPUID, as KVM has them."""

    def __init__(self, entries: Any):
        self._words = {(entry.function, name): getattr(entry, name) for entry in entries if not entry.index
                       for name in ("ebx", "ecx")}

    def _has(self, place: tuple[int, str, int]) -> bool:
        leaf, register, bit = place
        return bool(self._words.get((leaf, register), 0) >> bit & 1)

    def lack(self, code: bytes, instruction: Any, cr4: int) -> bool:
        """Whether `code`, decoded if capstone knows it, is no instruction there."""
        if code.startswith(RDPRU[0]):
            return not self._has(RDPRU[1])
        if instruction is None:
            return False
        if instruction.mnemonic in XSAVE_FAMILY:
            return not (cr4 & OSXSAVE and self._has(XSAVE))
        return instruction.mnemonic == "invpcid" and not self._has(INVPCID)
