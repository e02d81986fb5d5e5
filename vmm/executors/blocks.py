"""Which basic blocks an emulator may run in KVM's place: those whose every instruction is known to do the same there.

What is not here stays KVM's: atomic instructions, as Unicorn's are no such towards other vCPUs; x87, SSE and later,
whose registers stay in KVM; whatever reads clocks, or changes or tells what a CPU is or which mode it is in; events.
So do INS and CMPS: Unicorn writes a 0 where INS goes before it reads the port, and reads CMPS's operands the other way
round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import capstone
from capstone import x86

from .instructions import LOCK, decoder, is_atomic, prefixes

MOST_PORTS = 4

MOVES = """mov movabs movzx movsx movsxd lea push pop pushaw pushal popaw popal xlatb bswap cbw cwde cdqe cwd cdq cqo
lahf sahf pushf pushfd pushfq popf popfd popfq leave""".split()      # not ENTER: Unicorn lets its last fault pass
ARITHMETIC = """add adc sub sbb cmp inc dec neg mul imul div idiv and or xor not test shl sal shr sar rol ror rcl rcr
shld shrd bt bts btr btc bsf bsr clc stc cmc cld std aaa aas aad aam daa das""".split()
CONTROL = """jmp call ret nop pause endbr32 endbr64 loop loope loopne jcxz jecxz jrcxz
ja jae jb jbe je jne jg jge jl jle jo jno js jns jp jnp""".split()
CONDITIONAL = [prefix + condition for prefix in ("set", "cmov") for condition in
               "a ae b be e ne g ge l le o no s ns p np".split()]
STRINGS = [name + width for name in ("movs", "stos", "lods", "scas") for width in "bwdq"]
BARRIERS = "lfence sfence mfence".split()      # accesses here are in order: stores are of one thread
INTERRUPTS = "cli sti".split()
IN_OUT = "in out outsb outsw outsd".split()
OURS = frozenset([*MOVES, *ARITHMETIC, *CONTROL, *CONDITIONAL, *STRINGS, *BARRIERS, *INTERRUPTS, *IN_OUT])
REX_R = 4
ROTATES_CARRY, ALSO_SSE2 = ("rcl", "rcr"), ("movsd", "cmpsd")
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
        if not trusted(instruction) or (mode != LONG and _minds_segments(instruction)):
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


def trusted(instruction: capstone.CsInsn) -> bool:
    """Whether it does the same in Unicorn as in KVM (tools/lockstep/), and needs nothing that stays in KVM."""
    name = instruction.mnemonic.split()[-1]
    if name not in OURS or is_atomic(instruction) or _is_exception(instruction) or \
            (name in DIVIDES and _in_memory(instruction)):
        return False
    return not any(each.type == x86.X86_OP_REG and (each.reg in SYSTEM or each.reg == x86.X86_REG_SS)
                   for each in instruction.operands)


def _is_exception(instruction: capstone.CsInsn) -> bool:
    """One of a name that is trusted otherwise, as Unicorn does it in another way than a CPU:

    - with a LOCK prefix where that is not allowed, of which capstone tells no word;
    - MOVSD and CMPSD of SSE2, whose registers stay in KVM;
    - LAHF and SAHF with a REX prefix, which it has take spl;
    - RCL and RCR in memory, of which it has written CF where that cannot be written;
    - SHLD and SHRD by a constant at rip, which it takes for the byte before that;
    - TEST with 1 in modrm.reg, and MOV of a constant with REX.R, which it does not know.
    """
    name, opcode = instruction.mnemonic.split()[-1], instruction.opcode[0]
    if LOCK in prefixes(instruction):
        return True
    if name in ALSO_SSE2:
        return x86.X86_GRP_SSE2 in instruction.groups
    if name in ("lahf", "sahf"):
        return bool(instruction.rex)
    if name in ROTATES_CARRY:
        return instruction.operands[0].type == x86.X86_OP_MEM
    if name in ("shld", "shrd"):
        target, _, count = instruction.operands
        return target.type == x86.X86_OP_MEM and count.type == x86.X86_OP_IMM and \
            target.mem.base in (x86.X86_REG_RIP, x86.X86_REG_EIP)
    if name == "mov":
        return opcode in (0xc6, 0xc7) and bool(instruction.rex & REX_R)
    return name == "test" and opcode in (0xf6, 0xf7) and instruction.modrm >> 3 & 7 == 1
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
