"""Which basic blocks an emulator may run in KVM's place: those whose every instruction is known to do the same there.

What is not here stays KVM's: atomic instructions, as Unicorn's are no such towards other vCPUs; x87, SSE and later,
whose registers stay in KVM; whatever reads clocks, or changes or tells what a CPU is or which mode it is in; events.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import capstone
from capstone import x86

from .instructions import decoder, is_atomic

MOST_PORTS = 4

MOVES = """mov movabs movzx movsx movsxd lea push pop pushaw pushal popaw popal xlatb bswap cbw cwde cdqe cwd cdq cqo
lahf sahf pushf pushfd pushfq popf popfd popfq leave enter""".split()
ARITHMETIC = """add adc sub sbb cmp inc dec neg mul imul div idiv and or xor not test shl sal shr sar rol ror rcl rcr
shld shrd bt bts btr btc bsf bsr clc stc cmc cld std aaa aas aad aam daa das""".split()
CONTROL = """jmp call ret nop pause endbr32 endbr64 loop loope loopne jcxz jecxz jrcxz
ja jae jb jbe je jne jg jge jl jle jo jno js jns jp jnp""".split()
CONDITIONAL = [prefix + condition for prefix in ("set", "cmov") for condition in
               "a ae b be e ne g ge l le o no s ns p np".split()]
# not cmps, which Unicorn reads the other way round
STRINGS = [name + width for name in ("movs", "stos", "lods", "scas") for width in "bwdq"]
BARRIERS = "lfence sfence mfence".split()      # accesses here are in order: stores are of one thread
INTERRUPTS = "cli sti".split()
IN_OUT = "in out insb insw insd outsb outsw outsd".split()
OURS = frozenset([*MOVES, *ARITHMETIC, *CONTROL, *CONDITIONAL, *STRINGS, *BARRIERS, *INTERRUPTS, *IN_OUT])
WRITES_DX = frozenset((x86.X86_REG_DX, x86.X86_REG_EDX, x86.X86_REG_RDX, x86.X86_REG_DL, x86.X86_REG_DH))
DIVIDES = ("div", "idiv")       # of a register read as memory: a #DE is KVM's, which would read it again
LONG = 2                        # a mode
UNKNOWN_SEGMENTS = (0x2e, 0x64, 0x65)     # prefixes: cs, fs, gs
SEGMENTS = frozenset(getattr(x86, f"X86_REG_{name}") for name in "CS DS ES FS GS SS".split())
# moves to and from these change what a CPU is, or a segment by a table
SYSTEM = frozenset(getattr(x86, f"X86_REG_{kind}{i}") for kind in ("CR", "DR") for i in range(16))


@dataclass(frozen=True)
class Look:
    """What is known of a block: whether it may run, and its ports; None is that in dx when it begins; whether it may
    set rflags.TF."""

    ours: bool
    ports: list[int | None] = field(default_factory=list)
    pops_flags: bool = False


KVMS = Look(False)


def look(code: bytes, linear: int, mode: int) -> Look:
    """A block's bytes, where it is, and how wide its code is: 0, 1 or 2 for 16, 32 or 64 bits."""
    ports: list[int | None] = []
    pops_flags = False
    dx: int | None = None
    dx_known, at = True, 0          # from the beginning it is that of then
    for instruction in decoder(mode).disasm(code, linear):
        at += instruction.size
        if not _ours(instruction) or (mode != LONG and _minds_segments(instruction)):
            return KVMS
        name = instruction.mnemonic.split()[-1]
        pops_flags |= name.startswith("popf")
        if name in IN_OUT:
            port = _immediate(instruction)
            if port is None and not dx_known:
                return KVMS
            ports.append(dx if port is None else port)
        elif WRITES_DX & set(instruction.regs_access()[1]):
            dx = _loaded(instruction)
            dx_known = dx is not None
    if at != len(code) or len(set(ports)) > MOST_PORTS:
        return KVMS
    return Look(True, list(dict.fromkeys(ports)), pops_flags)


def _ours(instruction: capstone.CsInsn) -> bool:
    name = instruction.mnemonic.split()[-1]
    if name not in OURS or is_atomic(instruction) or (name in DIVIDES and _in_memory(instruction)):
        return False
    return not any(each.type == x86.X86_OP_REG and (each.reg in SYSTEM or each.reg == x86.X86_REG_SS)
                   for each in instruction.operands)


def _in_memory(instruction: capstone.CsInsn) -> bool:
    return any(each.type == x86.X86_OP_MEM for each in instruction.operands)


def _minds_segments(instruction: capstone.CsInsn) -> bool:
    """Outside 64-bit mode a segment's limit and kind count, which Unicorn does not look at: those of ds, es and ss are
    known when a run begins (checks_nothing, vmm/native/partial.c), and stay as they are."""
    return instruction.prefix[1] in UNKNOWN_SEGMENTS or bool(SEGMENTS & set(instruction.regs_access()[1]))


def _immediate(instruction: capstone.CsInsn) -> int | None:
    """The port of IN and OUT, where the instruction has it."""
    return next((each.imm & 0xff for each in instruction.operands if each.type == x86.X86_OP_IMM), None)


def _loaded(instruction: capstone.CsInsn) -> int | None:
    """What dx is after a MOV of a constant."""
    if instruction.mnemonic != "mov" or instruction.operands[0].reg not in (x86.X86_REG_DX, x86.X86_REG_EDX):
        return None
    source = instruction.operands[1]
    return source.imm & 0xffff if source.type == x86.X86_OP_IMM else None
