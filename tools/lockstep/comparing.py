"""What two outcomes of a step differ in, but for what is undefined."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from vmm.emulated.delivery import WITH_ERROR
from vmm.executors.kvm_state import meant

from .sides import Outcome
from .undefined import Undefined
from .world import BYTES, Mode

FRAME = ("rip", "cs", "rflags", "rsp", "ss")        # as an event's words lie on the stack, from its error code on
ALWAYS_ALIKE = ("rip",)                             # where it stopped is in Outcome.end
SEGMENT_BITS = {0: 2, 1: 4, 2: 8}


@dataclass(frozen=True)
class Differs:
    """A field, KVM's value and the emulator's."""

    field: str
    kvm: Any
    emulator: Any

    def __str__(self) -> str:
        def shown(value: Any) -> str:
            return f"{value:#x}" if isinstance(value, int) else str(value)
        return f"{self.field}: KVM {shown(self.kvm)}, emulator {shown(self.emulator)}"


def compared(mode: Mode, kvm: Outcome, emulator: Outcome, undefined: Undefined, special: bool) -> list[Differs]:
    """Fields that differ; `special`: the instruction may have changed segment registers."""
    if kvm.end != emulator.end:
        return [Differs("end", kvm.end or "done", emulator.end or "done")]
    if not kvm.ran:
        return []
    both = [_fields(mode, each, special) for each in (kvm, emulator)]
    found = [Differs(name, value, both[1][name]) for name, value in both[0].items()
             if value & ~_mask(name, undefined) != both[1][name] & ~_mask(name, undefined)
             and not _is_undefined(name, undefined)]
    if "memory" not in undefined.fields:
        found += _memory(mode, kvm, emulator)
    return found


def _mask(name: str, undefined: Undefined) -> int:
    return undefined.flags if name.endswith("rflags") else undefined.status if name == "fsw" else 0


def _is_undefined(name: str, undefined: Undefined) -> bool:
    return name in undefined.fields or any(each[-1] == "*" and name.startswith(each[:-1]) for each in undefined.fields)


def _fields(mode: Mode, outcome: Outcome, special: bool) -> dict[str, int]:
    low = (1 << mode.register_bits) - 1
    found = {name: value & low for name, value in outcome.general.items() if name not in ALWAYS_ALIKE}
    if special or outcome.end:
        found |= {name: meant(name, value) for name, value in outcome.special.items()
                  if name != "cr2" or outcome.end == "#14"}
    if outcome.end:
        found |= {f"frame.{name}": value for name, (value, _) in _frame(mode, outcome).items()}
    if outcome.floats:
        found |= _floats(outcome.floats)
    return found


def _frame(mode: Mode, outcome: Outcome) -> dict[str, tuple[int, slice]]:
    """An event's words on the stack, and where they are in Outcome.memory."""
    width = 8 if mode.long else 4 if mode.protected else 2
    names = list(FRAME if mode.long or mode.ring else FRAME[:3])
    if mode.protected and int(outcome.end[1:]) in WITH_ERROR:
        names.insert(0, "error")
    base = 0 if mode.long else outcome.special["ss.base"]
    pointer = outcome.general["rsp"] & ((1 << 64) - 1 if mode.long else 0xffffffff if mode.protected else 0xffff)
    at = (base + pointer) % BYTES
    found = {}
    for i, name in enumerate(names):
        where = slice(at + width * i, at + width * (i + 1))
        found[name] = (int.from_bytes(outcome.memory[where], "little"), where)
    return found


def _floats(area: bytes) -> dict[str, int]:
    """Of an XSAVE area (SDM 1, 10.5.1), but for pointers to instructions and operands, which CPUs keep or do not."""
    fcw, fsw, tags = struct.unpack_from("<HHB", area)
    found = {"fcw": fcw, "fsw": fsw, "ftw": tags, "mxcsr": int.from_bytes(area[24:28], "little")}
    found |= {f"st{i}": int.from_bytes(area[32 + 16 * i:42 + 16 * i], "little") for i in range(8)}
    return found | {f"xmm{i}": int.from_bytes(area[160 + 16 * i:176 + 16 * i], "little") for i in range(16)}


def _memory(mode: Mode, kvm: Outcome, emulator: Outcome) -> list[Differs]:
    """The first run of bytes that differs, of those that are no event's frame."""
    if kvm.memory == emulator.memory:
        return []
    one, other = bytearray(kvm.memory), bytearray(emulator.memory)
    if kvm.end:
        for (_, ours), (_, theirs) in zip(_frame(mode, kvm).values(), _frame(mode, emulator).values()):
            one[ours], other[theirs] = bytes(ours.stop - ours.start), bytes(theirs.stop - theirs.start)
    if one == other:
        return []
    at = next(i for i in range(len(one)) if one[i] != other[i])
    last = next(i for i in range(len(one) - 1, -1, -1) if one[i] != other[i])
    end = min(last + 1, at + 16)
    return [Differs(f"memory[{at:#x}]", one[at:end].hex(), other[at:end].hex())]
