"""What the SDM leaves undefined of an instruction: flags, by the section of volume 2 of its name, and results."""

from __future__ import annotations

from dataclasses import dataclass, field

from capstone import x86

from .candidates import Candidate
from .values import full

CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800      # rflags (SDM 1, 3.4.3.1)
ALL = CF | PF | AF | ZF | SF | OF
SHIFTS, ROTATES, DOUBLE = ("shl", "sal", "shr", "sar"), ("rol", "ror", "rcl", "rcr"), ("shld", "shrd")

# mnemonic -> flags, whatever its operands are: "Flags Affected" of each in SDM 2
FLAGS = {
    "and": AF, "or": AF, "xor": AF, "test": AF,
    "mul": SF | ZF | AF | PF, "imul": SF | ZF | AF | PF, "div": ALL, "idiv": ALL,
    "bsf": CF | OF | SF | AF | PF, "bsr": CF | OF | SF | AF | PF,
    "bt": OF | SF | AF | PF, "bts": OF | SF | AF | PF, "btr": OF | SF | AF | PF, "btc": OF | SF | AF | PF,
    "aaa": OF | SF | ZF | PF, "aas": OF | SF | ZF | PF, "aad": OF | AF | CF, "aam": OF | AF | CF,
    "daa": OF, "das": OF,
    "lzcnt": OF | SF | PF | AF, "tzcnt": OF | SF | PF | AF, "andn": AF | PF, "bextr": AF | SF | PF, "bzhi": AF | PF,
    "blsi": AF | PF, "blsr": AF | PF, "blsmsk": AF | PF,
}
APPROXIMATE = frozenset("rcpps rcpss rsqrtps rsqrtss".split())      # relative error of 1.5 * 2^-12 (SDM 2, of each)
TRANSCENDENTAL = frozenset("f2xm1 fsin fcos fsincos fptan fpatan fyl2x fyl2xp1".split())    # SDM 1, 8.3.10
CONDITIONS = 0x4700             # of fsw: C0 to C3


@dataclass
class Undefined:
    """Of rflags and the x87's status the bits; other fields (comparing.py) by name, "*" for the whole of a class."""

    flags: int = 0
    status: int = 0
    fields: set[str] = field(default_factory=set)


def count_of(candidate: Candidate, cl: int) -> int:
    """By how much a shift shifts, masked as the CPU does it (SDM 2, SAL); `cl` is what that register has."""
    last = candidate.decoded.operands[-1]
    size = candidate.decoded.operands[1 if candidate.name in DOUBLE else 0].size
    value = last.imm if last.type == x86.X86_OP_IMM else cl if last.type == x86.X86_OP_REG and \
        last.reg == x86.X86_REG_CL else 1
    return value & (63 if size == 8 else 31)


def flags_of(candidate: Candidate, cl: int | None) -> int:
    """Flags that it leaves undefined; of a shift by a `cl` that is not known, all that may be."""
    name, operands = candidate.name, candidate.decoded.operands
    if name not in (*SHIFTS, *ROTATES, *DOUBLE) or not operands:
        return FLAGS.get(name, 0)
    count = count_of(candidate, 0xff if cl is None else cl)
    bits = 8 * operands[1 if name in DOUBLE else 0].size
    if not count:
        return 0
    if name in DOUBLE and count > bits:
        return ALL
    found = OF if count > 1 else 0
    if name not in ROTATES:
        found |= AF
    if name in ("shl", "sal", "shr") and count >= bits:
        found |= CF
    return found


def undefined(candidate: Candidate, general: dict[str, int], flags_after: int) -> Undefined:
    """Of one that ran from these registers, and left those flags."""
    found, name = Undefined(flags_of(candidate, general["rcx"] & 0xff)), candidate.name
    operands = candidate.decoded.operands
    if name in DOUBLE and count_of(candidate, general["rcx"] & 0xff) > 8 * operands[1].size:
        found.fields |= _written(candidate)
    if (name in ("bsf", "bsr") and flags_after & ZF) or (name == "bswap" and operands[0].size == 2):
        found.fields |= _written(candidate)
    if name in APPROXIMATE:
        found.fields.add("xmm*")
    if name in TRANSCENDENTAL:
        found.fields.add("st*")
    if x86.X86_GRP_FPU in candidate.decoded.groups or name[0] == "f":
        found.status = CONDITIONS if name in TRANSCENDENTAL else _conditions(name)
    return found


def _written(candidate: Candidate) -> set[str]:
    first = candidate.decoded.operands[0]
    return {"memory"} if first.type == x86.X86_OP_MEM else {full(candidate.decoded.reg_name(first.reg))}


def _conditions(name: str) -> int:
    """C0, C2 and C3 are what comparisons, FXAM and remainders tell; C1 is defined of all (SDM 1, 8.1.3.1)."""
    return 0 if name.startswith(("fcom", "fucom", "ficom", "ftst", "fxam", "fprem", "fnstsw")) else 0x4500
