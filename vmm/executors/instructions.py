"""Instructions, decoded (capstone): what the executors have to know of one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import capstone
from capstone import x86

from .state import ACCESS

MODES = (capstone.CS_MODE_16, capstone.CS_MODE_32, capstone.CS_MODE_64)
MOST_BYTES = 15             # of an instruction (SDM 2, 2.3.11)
SSE_BYTES = 16
OPERAND_SIZE, REPEATS = 0x66, {0xf2, 0xf3}      # prefixes (SDM 2, 2.1.1)
LOCK, PREFIXES = 0xf0, bytes.fromhex("f0 f2 f3 26 2e 36 3e 64 65 66 67")      # SDM 2, 2.1.1
PUSHF = b"\x9c"
FOUR_GIB = 0xffffffff       # a limit
# of a segment's access: it is unusable, there, no system's, code, expands down, can be written
DATA_BITS, WRITABLE_DATA = 1 << 16 | 0x9e, 0x92
LONG_MODE = 1 << 10         # efer: LMA
MMX = frozenset(getattr(x86, f"X86_REG_MM{i}") for i in range(8))
SSSE3 = b"\x0f\x38"        # and later, how the opcode begins
XMM = frozenset(getattr(x86, f"X86_REG_XMM{i}") for i in range(16))
# operands of 16 bytes in memory that need not be aligned (SDM 1, 10.4.1.1; SDM 2, of each)
UNALIGNED = frozenset("movups movupd movdqu lddqu pcmpestri pcmpestrm pcmpistri pcmpistrm".split())


@lru_cache
def decoder(mode: int) -> capstone.Cs:
    """Of code that is 16, 32 or 64 bits wide: 0, 1 or 2."""
    found = capstone.Cs(capstone.CS_ARCH_X86, MODES[mode])
    found.detail = True
    return found


def decoded(code: bytes, linear: int, mode: int) -> capstone.CsInsn | None:
    """The first instruction."""
    return next(decoder(mode).disasm(code, linear, 1), None)


def is_delicate(instruction: capstone.CsInsn) -> bool:
    """RDMSR, WRMSR, MOV to cr0 or cr4, or of cr8."""
    return instruction.mnemonic in ("rdmsr", "wrmsr") or (instruction.mnemonic == "mov" and (
        instruction.operands[0].reg in (x86.X86_REG_CR0, x86.X86_REG_CR4) or priority_move(instruction) is not None))


def priority_move(instruction: capstone.CsInsn) -> tuple[str, bool] | None:
    """Of a MOV of cr8, the general register, and whether it is to cr8."""
    to, source = instruction.operands
    if x86.X86_REG_CR8 not in (to.reg, source.reg):
        return None
    is_write = to.reg == x86.X86_REG_CR8
    return instruction.reg_name(source.reg if is_write else to.reg), is_write


def may_be_delicate(block: bytes, linear: int, mode: int) -> bool:
    """Of one of its instructions; what is not decoded may be anything."""
    at = 0
    for instruction in decoder(mode).disasm(block, linear):
        if is_delicate(instruction):
            return True
        at += instruction.size
    return at < len(block)


def is_locked_wrongly(code: bytes, mode: int) -> bool:
    """One of those, or a MOV to another control register, with LOCK: it raises #UD (SDM 2, LOCK); Unicorn does it."""
    opcode = code.lstrip(PREFIXES)
    prefixes = code[:len(code) - len(opcode)]
    if mode == 2 and opcode and 0x40 <= opcode[0] < 0x50:
        opcode = opcode[1:]
    return LOCK in prefixes and opcode[:1] == b"\x0f" and opcode[1:2] in (b"\x22", b"\x30", b"\x32")


def control_write(instruction: capstone.CsInsn) -> tuple[str, str]:
    """Of a MOV to a control register: that, and the general register that it is of."""
    to, source = (instruction.reg_name(each.reg) for each in instruction.operands)
    return to, source if source[0] == "r" else "r" + source[1:]


def mode_of(state: Any) -> int:
    """How wide the code of a VcpuState is."""
    access = state.segments.cs.access
    return 2 if state.control.efer & LONG_MODE and access >> ACCESS["l"][0] & 1 else access >> ACCESS["db"][0] & 1


def is_pushf(code: bytes, mode: int) -> bool:
    """PUSHF, PUSHFD or PUSHFQ, and nothing behind it."""
    opcode = code.lstrip(PREFIXES)
    if mode == 2 and opcode and 0x40 <= opcode[0] < 0x50:
        opcode = opcode[1:]
    return opcode == PUSHF


def stack_top(state: Any) -> int:
    """The linear address that the stack pointer is at (SDM 1, 6.2.3)."""
    if mode_of(state) == 2:
        return state.general.rsp
    segment = state.segments.ss
    low = 0xffffffff if segment.access >> ACCESS["db"][0] & 1 else 0xffff
    return (segment.base + (state.general.rsp & low)) & 0xffffffff


def is_segmented(state: Any) -> bool:
    """Whether limits and kinds of segments count, which Unicorn does not look at (segmented, vmm/native/partial.c)."""
    if mode_of(state) == 2:
        return False
    segments = state.segments
    return segments.cs.limit != FOUR_GIB or any(
        each.limit != FOUR_GIB or each.access & DATA_BITS != WRITABLE_DATA
        for each in (segments.ds, segments.es, segments.ss))


def is_atomic(instruction: capstone.CsInsn) -> bool:
    """LOCK, or an XCHG with memory, which is so without it."""
    *prefixes, name = instruction.mnemonic.split()
    return "lock" in prefixes or (name == "xchg" and any(each.type == x86.X86_OP_MEM for each in instruction.operands))


def prefixes(instruction: capstone.CsInsn) -> bytes:
    """Before its opcode, REX included."""
    return bytes(instruction.bytes[:instruction.bytes.index(instruction.opcode[0])])


def done_otherwise(instruction: capstone.CsInsn) -> str:
    """What Unicorn 2.1 does with it in place of what a CPU does, where it takes something else for a result
    (`python -m tools.lockstep`); "" for most."""
    first = prefixes(instruction)
    if instruction.mnemonic == "lock neg":
        return "other flags"
    if OPERAND_SIZE in first and REPEATS & set(first) and _has(instruction, XMM | MMX):
        return "the instruction with prefix 66"
    if instruction.bytes[len(first):len(first) + 2] == SSSE3 and _has(instruction, MMX) and any(
            each.type == x86.X86_OP_MEM for each in instruction.operands):
        return "xmm0 and mxcsr overwritten"
    return ""


def _has(instruction: capstone.CsInsn, registers: frozenset[int]) -> bool:
    return any(each.type == x86.X86_OP_REG and each.reg in registers for each in instruction.operands)


def aligned_operand(instruction: capstone.CsInsn, state: Any) -> int | None:
    """The linear address of an operand that has to be aligned to 16 bytes, if there is one."""
    if x86.X86_GRP_AVX in instruction.groups or instruction.mnemonic in UNALIGNED:
        return None
    for each in instruction.operands:
        if each.type == x86.X86_OP_MEM and each.size == SSE_BYTES:
            return _linear(instruction, each.mem, state)
    return None


def _linear(instruction: capstone.CsInsn, memory: Any, state: Any) -> int:
    address = memory.disp + _value(instruction, memory.base, state) + \
        memory.scale * _value(instruction, memory.index, state)
    segment = instruction.reg_name(memory.segment) if memory.segment else "ds"
    return address + getattr(state.segments, segment).base


def _value(instruction: capstone.CsInsn, register: int, state: Any) -> int:
    if not register:
        return 0
    name = instruction.reg_name(register)
    if name in ("rip", "eip"):
        return instruction.address + instruction.size
    return getattr(state.general, "r" + name[1:] if name[0] == "e" else name if name[0] == "r" else "r" + name)
