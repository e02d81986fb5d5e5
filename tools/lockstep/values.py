"""General registers, flags and x87 and SSE registers of a step, random; operands in memory aimed at the data."""

from __future__ import annotations

import random
import struct
from typing import Any

from capstone import x86

from vmm.executors.generated import EDGES
from vmm.executors.state import GENERAL

from .candidates import Candidate
from .world import CODE, DATA, DATA_PAGES, READ_ONLY, STACK, STACK_PAGES, TOP, WRITABLE, Mode, segment_base

ARITHMETIC = (0, 2, 4, 6, 7, 11)        # of rflags: CF, PF, AF, ZF, SF, OF
DIRECTION, ENABLED, ONE = 1 << 10, 1 << 9, 2
BIT_TESTS = ("bt", "bts", "btr", "btc")
STRINGS = ("movs", "cmps", "stos", "lods", "scas")
MOST_REPEATS = 6
BAD_STACKS = 0.03               # of all
WITHOUT_TRAP = bytes(byte & 0xfe for byte in range(256))        # bit 8 of a word: TF of flags
DATA_BYTES, STACK_BYTES = 0x1000 * DATA_PAGES, 0x1000 * STACK_PAGES


class Values:
    """For a mode, whose state is `fields` otherwise."""

    def __init__(self, mode: Mode, fields: dict[str, Any], randoms: random.Random):
        self.mode, self.fields, self.random = mode, fields, randoms
        self.mask = (1 << mode.register_bits) - 1
        self._stack_base = segment_base(fields, mode, "ss")

    def general(self, slot: int, candidate: Candidate | None = None) -> dict[str, int]:
        """Registers at an instruction that lies at the linear address `slot`."""
        found = {name: self.word() for name in GENERAL}
        if self.mode.width != 2:
            found |= {f"r{i}": 0 for i in range(8, 16)}
        found["rip"] = slot - segment_base(self.fields, self.mode, "cs")
        found["rflags"] = ONE | (ENABLED if self.mode.ring else 0)
        found["rflags"] |= sum(1 << bit for bit in ARITHMETIC if self.random.random() < 0.5)
        if self.random.random() < 0.2:
            found["rflags"] |= DIRECTION
        found["rsp"] = self._bad_stack() if self._has_bad_stack(candidate) else self._stack()
        if self.random.random() < 0.5:
            found["rbp"] = self._stack()
        if candidate is not None:
            found |= self.aimed(candidate, found)
        return found

    def word(self) -> int:
        pick = self.random.random()
        if pick < 0.35:
            value = self.random.choice(EDGES)
        elif pick < 0.5:
            value = self.random.randrange(-70, 70)
        else:
            value = self.random.getrandbits(64)
        return value & self.mask

    def _stack(self) -> int:
        return (STACK + 0x400 + 2 * self.random.randrange((STACK_BYTES - 0x800) // 2) - self._stack_base) & self.mask

    def _has_bad_stack(self, candidate: Candidate | None) -> bool:
        """Sometimes, where handlers of what comes of that have stacks of their own; POPF would find TF there."""
        return self.mode.name == "long-0" and self.random.random() < BAD_STACKS and candidate is not None and \
            not candidate.name.startswith("popf")

    def _bad_stack(self) -> int:
        """One that no event's frame can be pushed to."""
        return self.random.choice((STACK - 0x800, READ_ONLY + 0x800, CODE + 0x100, TOP + 0x1010, 1 << 63, 8))

    def floats(self) -> bytes:
        """x87 and SSE registers, as an XSAVE area begins with them (SDM 1, 10.5.1)."""
        pick = self.random
        fcw, top = pick.choice((0x37f, 0x37f, 0x27f, 0x7f, 0xf7f, 0x77f, 0xb7f)), pick.randrange(8)
        status = top << 11 | pick.getrandbits(16) & 0x4700
        mxcsr = 0x1f80 | pick.getrandbits(2) << 13 | (pick.random() < 0.1) << 6 | (pick.random() < 0.1) << 15
        head = struct.pack("<HHBxHQQII", fcw, status, pick.getrandbits(8) | pick.getrandbits(8), 0, 0, 0, mxcsr, 0)
        return head + b"".join(self._extended() for _ in range(8)) + b"".join(self._vector() for _ in range(16))

    def _extended(self) -> bytes:
        """A register of 80 bits: of any exponent, or of one that adds up with others (SDM 1, 4.2.2)."""
        pick = self.random
        exponent = pick.choice((0, 0x3fff, 0x7fff, 0x3fff + pick.randrange(-70, 70), pick.getrandbits(15)))
        mantissa = pick.choice((1 << 63, pick.getrandbits(64) | 1 << 63, (1 << 64) - 1))
        if exponent in (0, 0x7fff):
            mantissa = pick.choice((mantissa, pick.getrandbits(64), 0))
        return struct.pack("<QHxxxxxx", mantissa, exponent | pick.getrandbits(1) << 15)

    def _vector(self) -> bytes:
        pick, kind = self.random, self.random.random()
        if kind < 0.35:
            return struct.pack("<4f", *(self._real(38) for _ in range(4)))
        if kind < 0.6:
            return struct.pack("<2d", *(self._real(300) for _ in range(2)))
        return pick.randbytes(16)

    def _real(self, digits: int) -> float:
        pick = self.random
        return pick.choice((0.0, -0.0, 1.0, float("inf"), float("nan"), pick.uniform(-9, 9),
                            float(pick.randrange(-5, 5)),
                            pick.uniform(-1, 1) * 10.0 ** pick.randrange(-digits, digits)))

    def memory(self, size: int) -> bytes:
        """What data and stacks have: numbers of all kinds, and no TF where flags might be taken from."""
        pieces = [self._extended() if pick < 0.1 else self._vector() if pick < 0.6 else bytes(16) if pick < 0.7 else
                  self.random.randbytes(16) for pick in (self.random.random() for _ in range(size // 16))]
        found = bytearray(b"".join(pieces))
        stack = slice(STACK - WRITABLE.start + 1, None, 2)
        found[stack] = found[stack].translate(WITHOUT_TRAP)
        return bytes(found)

    # operands in memory

    def target(self) -> int:
        """A linear address: of the data most of the time; of what cannot be written, or is not there."""
        pick = self.random.random()
        if pick < 0.8:
            return DATA + 0x40 + 16 * self.random.randrange(DATA_BYTES // 16 - 8) + (
                0 if self.random.random() < 0.5 else self.random.randrange(16))
        if pick < 0.86:
            return READ_ONLY - 20 + self.random.randrange(40)
        if pick < 0.9:
            return DATA + self.random.randrange(0x10000)
        if pick < 0.95 and self.mode.width == 2:
            return TOP + 0x1000 - self.random.randrange(40)
        return self.random.choice((0, CODE, STACK, READ_ONLY + 0x1fff, 0xfffffff8, self.random.getrandbits(64)))

    def aimed(self, candidate: Candidate, general: dict[str, int]) -> dict[str, int]:
        """Registers by which the instruction finds the data."""
        instruction, found = candidate.decoded, {}
        for operand in instruction.operands:
            if operand.type == x86.X86_OP_MEM:
                found |= self._addressed(instruction, operand.mem)
        if candidate.name in BIT_TESTS and instruction.operands[0].type == x86.X86_OP_MEM and \
                instruction.operands[1].type == x86.X86_OP_REG and self.random.random() < 0.8:
            register = full(instruction.reg_name(instruction.operands[1].reg))
            if register != "rsp":
                found.setdefault(register, self.random.randrange(-512, 1024) & self.mask)
        if candidate.name[:4] in STRINGS and {0xf2, 0xf3} & set(candidate.code[:-1]):
            found["rcx"] = self.random.randrange(MOST_REPEATS)
        if candidate.name in ("leave", "enter"):
            found["rbp"] = self._stack()
        if candidate.name == "xlatb":
            wanted = self.target() - segment_base(self.fields, self.mode, "ds") - (general["rax"] & 0xff)
            found["rbx"] = wanted & self.mask
        return found

    def _addressed(self, instruction: Any, memory: Any) -> dict[str, int]:
        base, index = (full(instruction.reg_name(each)) if each else "" for each in (memory.base, memory.index))
        if base in ("rsp", "rip", "eip") or not (base or index):
            return {}
        default = "ss" if base == "rbp" else "ds"
        segment = instruction.reg_name(memory.segment) if memory.segment else default
        wanted = self.target() - segment_base(self.fields, self.mode, segment) - memory.disp
        scale = memory.scale
        bits = 8 * instruction.addr_size
        if not base:
            return {index: (wanted // scale) & (1 << bits) - 1 & self.mask}
        if base == index:
            return {base: (wanted // (1 + scale)) & self.mask}
        found, offset = {}, 0
        if index:
            found[index] = self.random.randrange(256)
            offset = found[index] * scale
        value = (wanted - offset) & (1 << bits) - 1
        if bits < self.mode.register_bits and self.random.random() < 0.5:
            value |= self.random.getrandbits(64) >> bits << bits        # not looked at
        return found | {base: value & self.mask}


def full(register: str) -> str:
    """The general register that one is part of."""
    if register[:1] == "r" and register[1:2].isdigit():
        return register.rstrip("dwb")
    if register in ("al", "ah", "bl", "bh", "cl", "ch", "dl", "dh"):
        return f"r{register[0]}x"
    if register in ("sil", "dil", "bpl", "spl"):
        return f"r{register[:2]}"
    return f"r{register[-2:]}" if register else ""


def aimed_code(candidate: Candidate, mode: Mode, values: Values, slot: int) -> bytes:
    """Its bytes, with a displacement that has no register, or rip alone, aimed."""
    operand, instruction = candidate.memory(), candidate.decoded
    if operand is None:
        return candidate.code
    memory, at, size = operand.mem, instruction.disp_offset, instruction.disp_size
    base = instruction.reg_name(memory.base) if memory.base else ""
    code = candidate.code
    if (base and base not in ("rip", "eip")) or memory.index or size < 2 or not at:
        return code
    segment = instruction.reg_name(memory.segment) if memory.segment else "ds"
    value = values.target() - segment_base(values.fields, mode, segment)
    if base:
        value -= slot + len(code)
    return code[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + code[at + size:]
