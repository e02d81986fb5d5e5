"""Differences that are explained: whose fault each is, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from capstone import x86

from .comparing import Differs
from .trial import Trial
from .world import Mode

UNICORN, KVM, OPEN = "Unicorn", "KVM", "left open"
# KVM's instruction emulator runs all but 64-bit code of ring 3, where KVM is one without VMX and SVM
NATIVE = ("long-3",)
NOT_IN_KVM = frozenset("aaa aas daa enter nop".split())
CARRY_ROTATES, SEGMENT_NAMES = ("rcl", "rcr"), frozenset("cs ds es fs gs ss".split())


@dataclass(frozen=True)
class Known:
    """`applies`: to a field that differs behind an instruction in a mode."""

    fault: str
    why: str
    applies: Callable[[Mode, Trial, Differs], bool]


def _ends(kvm: tuple[str, ...], emulator: tuple[str, ...]) -> Callable[[Differs], bool]:
    """Whether it is where an instruction ended, and how on both; () for any other end."""
    def found(differs: Differs) -> bool:
        return differs.field == "end" and (not kvm or differs.kvm in kvm) and \
            (not emulator or differs.emulator in emulator)
    return found


def _limits(mode: Mode, trial: Trial, differs: Differs) -> bool:
    if mode.width == 2:
        return False
    if differs.field == "frame.error" and trial.special:        # the fault is that of the selector that was read then
        return not differs.kvm
    return _ends(("#12", "#13"), ())(differs) and differs.emulator not in ("#12", "#13")


def _write_bit(mode: Mode, trial: Trial, differs: Differs) -> bool:
    return differs.field == "frame.error" and differs.kvm == differs.emulator | 2 != differs.emulator


def _is_software(mode: Mode) -> bool:
    return mode.name not in NATIVE


def _has_operand(trial: Trial, kind: int) -> bool:
    return any(each.type == kind for each in trial.instructions[0].decoded.operands)


def _at_rip(trial: Trial) -> bool:
    memory = trial.instructions[0].memory()
    return memory is not None and memory.mem.base in (x86.X86_REG_RIP, x86.X86_REG_EIP)


def _touches_segment(trial: Trial) -> bool:
    instruction = trial.instructions[0].decoded
    return any(each.type == x86.X86_OP_REG and instruction.reg_name(each.reg) in SEGMENT_NAMES
               for each in instruction.operands)


def _segment_push(mode: Mode, trial: Trial, differs: Differs) -> bool:
    return trial.name == "push" and differs.field.startswith("memory") and _has_operand(trial, x86.X86_OP_REG) and \
        trial.instructions[0].text.split()[-1] in SEGMENT_NAMES


KNOWN = (
    Known(UNICORN, "no limits and types of segments are checked (SDM 3, 5.3 to 5.5)", _limits),
    Known(UNICORN, "#GP, not #SS, where a stack operand is not canonical (SDM 1, 3.3.7.1)",
          lambda mode, trial, differs: mode.width == 2 and _ends(("#12",), ("#13",))(differs)),
    Known(UNICORN, "the #PF of an operand that is read and written says read (SDM 3, 4.7)", _write_bit),
    Known(UNICORN, "TEST with 1 in modrm.reg is no instruction (APM 3, TEST)",
          lambda mode, trial, differs: trial.name == "test" and _ends((), ("#6",))(differs)),
    Known(UNICORN, "MOV of a constant with REX.R is no instruction (SDM 2, 2.2.1.2: it is ignored)",
          lambda mode, trial, differs: trial.name == "mov" and mode.width == 2 and _ends((), ("#6",))(differs)),
    Known(UNICORN, "LAHF and SAHF with REX are of spl, not ah (SDM 2, LAHF)",
          lambda mode, trial, differs: trial.name in ("lahf", "sahf") and trial.instructions[0].decoded.rex),
    Known(UNICORN, "RCL and RCR change CF before their operand's #PF (SDM 3, 6.5)",
          lambda mode, trial, differs: trial.name in CARRY_ROTATES and differs.field.endswith("rflags")),
    Known(UNICORN, "SHLD and SHRD by a constant are a byte lower at rip (SDM 2, 2.2.1.6)",
          lambda mode, trial, differs: trial.name in ("shld", "shrd") and _at_rip(trial)),
    Known(UNICORN, "ENTER does not probe the new top of the stack (SDM 2, ENTER)",
          lambda mode, trial, differs: trial.name == "enter" and mode.width == 2),
    Known(OPEN, "a pushed segment register's upper half is written, or is not (SDM 2, PUSH)", _segment_push),
    Known(OPEN, "which operand of CMPS is read first",
          lambda mode, trial, differs: trial.name.startswith("cmps") and (
              differs.field in ("cr2", "frame.error") or _ends(("#13", "#14"), ("#13", "#14"))(differs))),
    Known(KVM, "its emulator does not have it: #UD in ring 3",
          lambda mode, trial, differs: _is_software(mode) and mode.ring == 3 and trial.name in NOT_IN_KVM
          and differs.field == "end" and differs.kvm == "#6"),
    Known(KVM, "its emulator makes SF, ZF and PF of AAM and AAD of all of the accumulator (SDM 2, AAM)",
          lambda mode, trial, differs: _is_software(mode) and trial.name in ("aam", "aad") and differs.field == "rflags"),
    Known(KVM, "its emulator writes up to a page that cannot be written (SDM 3, 6.5)",
          lambda mode, trial, differs: _is_software(mode) and differs.field.startswith("memory[")
          and int(differs.field[7:-1], 16) % 0x1000 > 0x1000 - 16),
    Known(KVM, "its emulator reads the operand of a NOP (SDM 2, NOP)",
          lambda mode, trial, differs: _is_software(mode) and trial.name == "nop" and differs.field == "end"),
    Known(KVM, "its emulator has no MOV of a segment register with REX.R, which is to be ignored (SDM 2, 2.2.1.2)",
          lambda mode, trial, differs: mode.width == 2 and trial.name == "mov" and _touches_segment(trial)
          and _ends(("#6",), ())(differs)),
    Known(KVM, "no code of its own is at the last page below the hole of non-canonical addresses: #PF",
          lambda mode, trial, differs: mode.width == 2 and _ends(("#14",), ("#13", "#12"))(differs)),
    Known(KVM, "ring 3 runs with the host's selectors",
          lambda mode, trial, differs: mode.name in NATIVE and _touches_segment(trial)),
)


def explained(mode: Mode, trial: Trial, differs: Differs) -> Known | None:
    """Why, if that is known; `trial` is what ran."""
    return next((known for known in KNOWN if known.applies(mode, trial, differs)), None)
