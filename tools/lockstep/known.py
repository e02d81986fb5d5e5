"""Differences that are explained: whose fault each is, and why.

KVM's own instruction emulator runs all but 64-bit code of ring 3 where KVM is one without VMX and SVM.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import Any

from capstone import x86

from vmm.executors.blocks import BARRIERS
from vmm.executors.instructions import prefixes

from .comparing import Differs
from .trial import Trial
from .world import TOP, Mode

UNICORN, KVM, OPEN = "Unicorn", "KVM", "left open"
NATIVE = ("long-3",)
NOT_IN_KVM = frozenset("aaa aas daa enter nop".split())
SEGMENT_NAMES, FAR_LOADS = frozenset("cs ds es fs gs ss".split()), ("lds", "les", "lfs", "lgs")
LIMIT_FAULTS, ADDRESS_FAULTS = ("#12", "#13"), ("#12", "#13", "#14")
FAR_TRANSFERS = frozenset("ljmp lcall retf iret iretd iretq".split())
STACK_FAULT, X87_FLAGS = 0x40, 0xc2ff           # of fsw: SF; exceptions, B, ES, C1 (SDM 1, 8.1.3)
AUXILIARY = 0x10                                # of rflags: AF
RESUME = 1 << 16                                # of rflags
SSE_FLAGS = 0x3f                                # of mxcsr (SDM 1, 10.2.3)
X87_FIELDS = ("fsw", "ftw", *(f"st{i}" for i in range(8)))
COMPARES = ("cmpps", "cmppd", "cmpss", "cmpsd")
NEWER = ("gf2p8", "clwb", "clflushopt", "sha", "movdir", "extrq", "insertq", "movntss", "movntsd", "adcx", "adox",
         "wrss", "wruss")
RESERVED_RUN = ("movlhps", "movhlps", "pextrw", "movmskps", "movmskpd", "ldmxcsr", "stmxcsr")
LEAST_SINGLE, LEAST_DOUBLE = 2.0 ** -126, 2.0 ** -1022      # that are no denormals (SDM 1, table 4-3)
STORES_MANY = ("fnsave", "fnstenv", "frstor", "fldenv", "fbld", "fbstp")


@dataclass(frozen=True)
class Case:
    """A field that differs, and all that do, by their names without an address."""

    mode: Mode
    trial: Trial
    differs: Differs
    together: dict[str, Differs]

    @property
    def name(self) -> str:
        return self.trial.name

    @property
    def field(self) -> str:
        return self.differs.field.split("[")[0]

    @property
    def software(self) -> bool:
        return self.mode.name not in NATIVE

    def ends(self, kvm: tuple[str, ...], emulator: tuple[str, ...]) -> bool:
        """Whether it is where the instruction ended, and how on each; () for any end."""
        return self.field == "end" and (not kvm or self.differs.kvm in kvm) and \
            (not emulator or self.differs.emulator in emulator)

    def operands(self) -> list[Any]:
        return self.trial.instructions[0].decoded.operands

    def registers(self) -> set[str]:
        decoded = self.trial.instructions[0].decoded
        return {decoded.reg_name(each.reg) for each in self.operands() if each.type == x86.X86_OP_REG}

    def prefixes(self) -> set[int]:
        """Of one that partial emulation does not trust."""
        return set(prefixes(self.trial.instructions[0].decoded)) if self.trial.kind == "other" else set()

    def is_mmx(self) -> bool:
        return self.name == "emms" or any(name.startswith("mm") for name in self.registers())

    def is_x87(self) -> bool:
        return self.trial.kind == "other" and self.name[0] == "f"


@dataclass(frozen=True)
class Known:
    fault: str
    why: str
    applies: Callable[[Case], bool]


unicorn, kvm, left_open = partial(Known, UNICORN), partial(Known, KVM), partial(Known, OPEN)


def _limits(case: Case) -> bool:
    if case.mode.width == 2:
        return False
    if case.field == "frame.error" and case.trial.special:      # the fault is that of the selector that was read then
        return not case.differs.kvm
    return case.ends(LIMIT_FAULTS, ()) and case.differs.emulator not in LIMIT_FAULTS


def _write_bit(case: Case) -> bool:
    return case.field == "frame.error" and case.differs.kvm == case.differs.emulator | 2 != case.differs.emulator


def _at_rip(case: Case) -> bool:
    memory = case.trial.instructions[0].memory()
    return memory is not None and memory.mem.base in (x86.X86_REG_RIP, x86.X86_REG_EIP)


def _segment_push(case: Case) -> bool:
    return case.name == "push" and case.field == "memory" and bool(case.registers() & SEGMENT_NAMES)


def _beside_end(case: Case) -> bool:
    """At the end of a page."""
    return case.field == "memory" and int(case.differs.field[7:-1], 16) % 0x1000 > 0x1000 - 16


def _x87(case: Case) -> bool:
    """Flags; what a stack fault makes of a result; denormals, reduced precision and NaNs."""
    if not case.is_x87():
        return False
    if case.field == "fsw":
        return True
    status = case.together.get("fsw")
    if status is not None and status.kvm & STACK_FAULT:
        return case.field.startswith(("st", "ftw", "rflags", "memory"))
    if case.field == "memory":
        return case.name.startswith(("fst", "fist"))
    return case.field.startswith(("st", "ftw")) or (case.field == "rflags" and not case.differs.kvm & AUXILIARY)


def _parts(case: Case) -> list[tuple[float, float]]:
    """The numbers of an SSE register that differ: KVM's, and the emulator's."""
    if not case.field.startswith("xmm") or case.name[-2:] not in ("ps", "ss", "pd", "sd"):
        return []
    kind, size = ("<4f", 4) if case.name[-1] == "s" else ("<2d", 8)
    ours, theirs = (value.to_bytes(16, "little") for value in (case.differs.kvm, case.differs.emulator))
    both = zip(struct.unpack(kind, ours), struct.unpack(kind, theirs), range(0, 16, size))
    return [(one, other) for one, other, at in both if ours[at:at + size] != theirs[at:at + size]]


def _nans(case: Case) -> bool:
    parts = _parts(case)
    return bool(parts) and all(isnan(one) and isnan(other) for one, other in parts)


def _not_flushed(case: Case) -> bool:
    """Whether what differs is zero for KVM, and next to nothing for the emulator."""
    least = LEAST_SINGLE if case.name[-1] == "s" else LEAST_DOUBLE
    parts = _parts(case)
    return bool(parts) and all(not one and abs(other) < least for one, other in parts)


def _aligned(case: Case) -> bool:
    """Of an operand of 16 bytes that has to be aligned (vmm/executors/instructions.py: aligned_operand)."""
    return case.trial.kind == "other" and any(each.type == x86.X86_OP_MEM and each.size == 16
                                              for each in case.operands())


def _accessed(case: Case) -> bool:
    """The accessed bit of a code segment, there or in its descriptor."""
    if case.field == "memory":
        ours, theirs = (bytes.fromhex(each) for each in (case.differs.kvm, case.differs.emulator))
        return case.name in FAR_TRANSFERS and bytes([theirs[0] | 1]) + theirs[1:] == ours
    return case.field == "cs.access" and case.differs.kvm == case.differs.emulator | 1


KNOWN = (
    unicorn("LTR does not make the task register's own copy busy (SDM 2, LTR)",
            lambda case: case.name == "ltr" and case.field == "tr.access"
            and case.differs.kvm == case.differs.emulator | 2),
    unicorn("LLDT of a null selector leaves what was there, not usable or not (SDM 2, LLDT)",
            lambda case: case.name == "lldt" and case.field == "ldt.access"),
    unicorn("far jumps, calls and returns leave the accessed bit of the code segment (SDM 3, 3.4.5.1)", _accessed),
    unicorn("no limits and types of segments are checked (SDM 3, 5.3 to 5.5)", _limits),
    unicorn("#GP, not #SS, where a stack operand is not canonical (SDM 1, 3.3.7.1)",
            lambda case: case.mode.width == 2 and case.ends(("#12",), ("#13", "#14", "#8"))),
    unicorn("the #PF of an operand that is read and written says read (SDM 3, 4.7)", _write_bit),
    unicorn("TEST with 1 in modrm.reg is no instruction (APM 3, TEST)",
            lambda case: case.name == "test" and case.ends((), ("#6",))),
    unicorn("MOV of a constant with REX.R is no instruction (SDM 2, 2.2.1.2: it is ignored)",
            lambda case: case.name == "mov" and case.mode.width == 2 and case.ends((), ("#6",))),
    unicorn("LAHF and SAHF with REX are of spl, not ah (SDM 2, LAHF)",
            lambda case: case.name in ("lahf", "sahf") and case.trial.instructions[0].decoded.rex),
    unicorn("RCL and RCR change CF before their operand's #PF (SDM 3, 6.5)",
            lambda case: case.name in ("rcl", "rcr") and case.field.endswith("rflags")),
    unicorn("SHLD and SHRD by a constant are a byte lower at rip (SDM 2, 2.2.1.6)",
            lambda case: case.name in ("shld", "shrd") and _at_rip(case)),
    unicorn("ENTER does not probe the new top of the stack (SDM 2, ENTER)",
            lambda case: case.name == "enter" and case.mode.width == 2),
    unicorn("CMPXCHG that fails clears the upper half of a register of 32 bits (SDM 2, CMPXCHG)",
            lambda case: case.name == "cmpxchg" and case.field in case.together and case.field[0] == "r"
            and case.differs.kvm & 0xffffffff == case.differs.emulator),
    unicorn("LOCK before what cannot have it is ignored (SDM 2, LOCK)",
            lambda case: case.ends(("#6",), ()) and 0xf0 in case.prefixes()),
    unicorn("x87 exceptions, stack faults, C1 and B are not told; denormals, reduced precision and NaNs have other "
            "results; FCOMI leaves AF (SDM 1, 8.1.3, 8.2, 8.5)", _x87),
    unicorn("reserved bits of the x87 control word are kept (SDM 1, 8.1.5)",
            lambda case: case.is_x87() and case.field == "fcw"),
    unicorn("FNSAVE and FNSTENV store another environment, FRSTOR and FLDENV read less of it (SDM 1, 8.1.10)",
            lambda case: case.name in STORES_MANY and case.field in ("memory", "cr2", "end", "frame.error")),
    unicorn("CVTPI2PS and CVTPI2PD of memory empty the x87 stack (SDM 2, CVTPI2PD)",
            lambda case: case.name.startswith("cvtpi2p") and case.field in X87_FIELDS),
    unicorn("SSSE3 of an MMX register and memory writes xmm0 and mxcsr as well",
            lambda case: case.is_mmx() and case.field in ("xmm0", "mxcsr")),
    unicorn("66 is taken for the mandatory prefix where F2 or F3 is (SDM 2, 2.1.2)",
            lambda case: 0x66 in case.prefixes() and bool({0xf2, 0xf3} & case.prefixes())),
    unicorn("an immediate of CMPPS above 7 is no instruction (SDM 2, CMPPS)",
            lambda case: case.name in COMPARES and case.ends((), ("#6",))),
    unicorn("it has no GFNI, SHA, CLWB, CLFLUSHOPT, MOVDIRI and SSE4A, which the host's CPU has",
            lambda case: case.name.startswith(NEWER) and case.ends((), ("#6",))),
    unicorn("flags behind a fault of repeated CMPS and SCAS are those of iterations before it (SDM 2, REP)",
            lambda case: case.name.startswith(("cmps", "scas")) and case.field in ("rflags", "frame.rflags")),
    unicorn("LOCK NEG leaves other flags (SDM 2, NEG)",
            lambda case: case.name == "neg" and case.trial.kind == "other" and case.field == "rflags"),
    unicorn("of two NaNs SSE takes the one with the larger significand, not the first (SDM 1, table 4-7)", _nans),
    unicorn("FTZ of mxcsr is x87's, not SSE's (SDM 1, 10.2.3.3)", _not_flushed),
    unicorn("MIN and MAX return a denormal where DAZ takes it for zero (SDM 1, 10.2.3.4)",
            lambda case: case.name[:3] in ("min", "max") and case.field.startswith("xmm")),
    unicorn("half of a load of 16 bytes is done before the other's fault (SDM 3, 6.5)",
            lambda case: _aligned(case) and case.name.startswith(("mov", "lddqu")) and case.field.startswith("xmm")),
    unicorn("LDMXCSR takes reserved bits (SDM 2, LDMXCSR)",
            lambda case: case.name == "ldmxcsr" and case.field in ("end", "mxcsr")),
    unicorn("CLFLUSH looks at no page (SDM 2, CLFLUSH)",
            lambda case: case.name.startswith(("clflush", "clwb", "cldemote")) and case.ends((), ("done",))),
    unicorn("encodings that are reserved are run (SDM 2, of each)",
            lambda case: case.trial.kind == "other" and case.ends(("#6",), ("done",)) and (
                case.name in RESERVED_RUN or case.name.startswith("bnd"))),
    unicorn("it reads more of an operand than the instruction does",
            lambda case: case.trial.kind == "other" and case.ends(("done",), ("#12", "#13", "#14"))),
    unicorn("MMX registers get no ones above, EMMS no TOP, and faults come after that of the stack (SDM 1, 9.5.1)",
            lambda case: case.is_mmx() and case.field in X87_FIELDS),
    unicorn("SSE exceptions set no flags in mxcsr (SDM 1, 11.5.2)",
            lambda case: case.field == "mxcsr" and not (case.differs.kvm ^ case.differs.emulator) & ~SSE_FLAGS),
    unicorn("no operand of SSE has to be aligned (SDM 1, 10.4.1.1)",
            lambda case: _aligned(case) and (case.ends(("#13", "#6"), ()) or case.field == "memory")),
    left_open("which page of an operand that has no alignment has its fault first",
              lambda case: case.name.startswith("maskmov") and case.field in ("cr2", "frame.error")),
    left_open("66 before a fence (SDM 2, SFENCE)",
              lambda case: case.name in BARRIERS and case.field == "end"),
    left_open("an access of no bytes may have a fault (SDM 2, MASKMOVQ)",
              lambda case: case.name.startswith("maskmov") and case.field == "end"),
    left_open("the upper half of what INSERTQ and EXTRQ write (APM 4, INSERTQ)",
              lambda case: case.name in ("insertq", "extrq") and case.field.startswith("xmm")),
    left_open("a far pointer with REX.W has 32 bits of offset (APM 3, LFS), or 64 (SDM 2, LFS)",
              lambda case: case.name in FAR_LOADS and case.mode.width == 2
              and case.trial.instructions[0].decoded.rex & 8),
    left_open("a pushed segment register's upper half is written, or is not (SDM 2, PUSH)", _segment_push),
    left_open("which operand of CMPS is read first",
              lambda case: case.name.startswith("cmps") and (
                  case.field in ("cr2", "frame.error") or case.ends(("#13", "#14"), ("#13", "#14")))),
    kvm("a #PF while #GP is delivered is made a double fault (SDM 3, table 6-5)",
        lambda case: case.software and case.ends(("#8",), ("#14",))),
    kvm("RF is set in the flags that a double fault pushes (SDM 3, 18.3.1.1)",
        lambda case: case.software and case.field == "frame.rflags"
        and case.differs.kvm == case.differs.emulator | RESUME != case.differs.emulator),
    kvm("its emulator does not have it: #UD in ring 3",
        lambda case: case.software and case.mode.ring == 3 and case.ends(("#6",), ())
        and (case.name in NOT_IN_KVM or case.trial.kind == "other")),
    kvm("its emulator looks at what has a fault in ring 3, and does not have it: #UD",
        lambda case: not case.software and case.trial.kind == "other" and case.ends(("#6",), ADDRESS_FAULTS)),
    kvm("its emulator makes SF, ZF and PF of AAM and AAD of all of the accumulator (SDM 2, AAM)",
        lambda case: case.software and case.name in ("aam", "aad") and case.field == "rflags"),
    kvm("its emulator writes up to a page that cannot be written (SDM 3, 6.5)",
        lambda case: case.software and _beside_end(case)),
    kvm("its emulator takes LZCNT and TZCNT for BSR and BSF (SDM 2, LZCNT)",
        lambda case: case.software and case.name in ("lzcnt", "tzcnt")),
    kvm("its emulator has no MOVBE: #UD",
        lambda case: case.software and case.name == "movbe" and case.ends(("#6",), ())),
    kvm("its emulator reads the operand of a NOP, or takes it for the next instruction (SDM 2, NOP)",
        lambda case: case.software and case.name == "nop"),
    kvm("its emulator reads the operand of MOV to cs before #UD (SDM 2, MOV)",
        lambda case: case.software and case.name == "mov" and "cs" in case.registers()
        and case.ends(ADDRESS_FAULTS, ("#6",))),
    kvm("its emulator has no MOV of a segment register with REX.R, which is to be ignored (SDM 2, 2.2.1.2)",
        lambda case: case.mode.width == 2 and case.name == "mov" and bool(case.registers() & SEGMENT_NAMES)
        and case.ends(("#6", "#8"), ())),
    kvm("its emulator stores a segment register in as many bytes as the prefixes say (SDM 2, MOV)",
        lambda case: case.software and case.name == "mov" and bool(case.registers() & SEGMENT_NAMES)
        and case.field == "memory"),
    kvm("no code of its own is at the last page below the hole of non-canonical addresses: #PF",
        lambda case: case.mode.width == 2 and (case.ends(("#14",), ("#13", "#12")) or (
            "cr2" in case.together and case.together["cr2"].kvm == TOP + 0x1000))),
    kvm("ring 3 runs with the host's selectors",
        lambda case: not case.software and (case.name in FAR_LOADS or bool(case.registers() & SEGMENT_NAMES))),
)


def explained(mode: Mode, trial: Trial, differs: Differs, fields: list[Differs]) -> Known | None:
    """Why a field of those that differ does so behind what ran, if that is known."""
    case = Case(mode, trial, differs, {each.field.split("[")[0]: each for each in fields})
    return next((known for known in KNOWN if known.applies(case)), None)
