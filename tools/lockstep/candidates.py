"""Instructions made up: random bytes that decode to what one of two classes has, aimed at the data.

`ours` is what partial emulation trusts (vmm/executors/blocks.py), but for jumps, ports, and the interrupt flag; `other`
what else runs in the emulator (docs/executors.md): x87, MMX, SSE, atomic and bit manipulation instructions.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from capstone import x86

from vmm.executors import blocks
from vmm.executors.instructions import MOST_BYTES, decoded

from .world import Mode

NOTHING = {"nop", "pause", "endbr32", "endbr64"}
LEFT_OUT = {*blocks.CONTROL, *blocks.INTERRUPTS, *blocks.IN_OUT, "insb", "insw", "insd"} - NOTHING
# what ends the run, tells what the machine is, or leaves the world behind
NEVER = frozenset("""hlt cpuid rdtsc rdtscp rdpmc rdrand rdseed rdmsr wrmsr syscall sysret sysenter sysexit int int1
int3 into iret iretd iretq retf retfq lcall ljmp lgdt lidt lldt ltr lmsw sgdt sidt sldt smsw str clts invd wbinvd invlpg
invpcid rsm swapgs monitor mwait monitorx mwaitx xgetbv xsetbv clac stac ud0 ud1 ud2 lss xbegin xabort xend xtest getsec
encls enclu vmcall vmmcall vmlaunch vmresume vmxoff vmxon vmread vmwrite vmclear vmptrld vmptrst vmfunc vmload vmsave
vmrun invlpga skinit clgi stgi invept invvpid rdpid wrpkru rdpkru xstore clzero rdpru umonitor umwait tpause""".split())
NEVER_PREFIXES = ("xsave", "xrstor", "fxsave", "fxrstor", "xcrypt", "xsha", "montmul", "enc", "tdx", "rdfs", "rdgs",
                  "wrfs", "wrgs")
GROUPS_LEFT_OUT = frozenset((
    x86.X86_GRP_JUMP, x86.X86_GRP_CALL, x86.X86_GRP_RET, x86.X86_GRP_INT, x86.X86_GRP_IRET, x86.X86_GRP_PRIVILEGE,
    x86.X86_GRP_VM, x86.X86_GRP_BRANCH_RELATIVE, x86.X86_GRP_AVX, x86.X86_GRP_AVX2, x86.X86_GRP_AVX512,
    x86.X86_GRP_FMA, x86.X86_GRP_FMA4, x86.X86_GRP_XOP, x86.X86_GRP_TBM, x86.X86_GRP_3DNOW, x86.X86_GRP_RTM,
    x86.X86_GRP_HLE, x86.X86_GRP_F16C))
PREFIXES = tuple(bytes.fromhex(group) for group in ("66", "67", "f2f3", "262e363e6465"))    # groups (SDM 2, 2.1.1)
LOCK, REX = b"\xf0", bytes(range(0x40, 0x50))
SEGMENT_REGISTERS = frozenset((x86.X86_REG_DS, x86.X86_REG_ES, x86.X86_REG_FS, x86.X86_REG_GS))
LOADS_SEGMENT = frozenset("lds les lfs lgs".split())
TRIES = 2_000_000               # at one that is wanted
OFTEN = 3                       # a mnemonic is taken that many times as often as the rarest are on the average


@dataclass(frozen=True)
class Candidate:
    """An instruction; `decoded` is capstone's."""

    code: bytes
    decoded: Any

    @property
    def name(self) -> str:
        """Without prefixes."""
        return self.decoded.mnemonic.split()[-1]

    @property
    def text(self) -> str:
        return f"{self.decoded.mnemonic} {self.decoded.op_str}".strip()

    def memory(self) -> Any:
        """Its operand in memory that is written as such (the first one)."""
        return next((each for each in self.decoded.operands if each.type == x86.X86_OP_MEM), None)

    def loads_segment(self) -> bool:
        first = self.decoded.operands[0] if self.decoded.operands else None
        return self.name in LOADS_SEGMENT or (
            self.name in ("mov", "pop") and first is not None and first.type == x86.X86_OP_REG
            and first.reg in SEGMENT_REGISTERS)


def is_ours(instruction: Any) -> bool:
    """Partial emulation runs it, and so does this tool."""
    name = instruction.mnemonic.split()[-1]
    return name not in LEFT_OUT and blocks.trusted(instruction)


def is_other(instruction: Any) -> bool:
    """The emulator alone runs it."""
    name = instruction.mnemonic.split()[-1]
    if name in NEVER or name in LEFT_OUT or name.startswith(NEVER_PREFIXES) or name in blocks.IN_OUT:
        return False
    if GROUPS_LEFT_OUT & set(instruction.groups) or name[0] == "v" or name in blocks.INTERRUPTS:
        return False
    if any(each.type == x86.X86_OP_REG and (each.reg in blocks.SYSTEM or each.reg == x86.X86_REG_SS)
           for each in instruction.operands):
        return False
    return not blocks.trusted(instruction)


class Source:
    """Instructions of a class for a mode, as often one mnemonic as another as far as may be."""

    def __init__(self, mode: Mode, kind: str, randoms: random.Random):
        self.mode, self.kind, self.random = mode, kind, randoms
        self.wanted = is_ours if kind == "ours" else is_other
        self.taken: Counter[str] = Counter()

    def next(self) -> Candidate:
        for _ in range(TRIES):
            found = self._try()
            if found is not None and self._rare(found.name):
                self.taken[found.name] += 1
                return found
        raise AssertionError("random bytes have instructions")

    def _try(self) -> Candidate | None:
        code = self._bytes()
        instruction = decoded(code, 0, self.mode.width)
        if instruction is None or instruction.size > MOST_BYTES or not self.wanted(instruction) or \
                _has_odd_prefixes(code, self.mode):
            return None
        return Candidate(code[:instruction.size], instruction)

    def _rare(self, name: str) -> bool:
        usual = OFTEN * (sum(self.taken.values()) + 1) / (len(self.taken) + 1)
        return self.taken[name] < usual + 2

    def _bytes(self) -> bytes:
        pick = self.random
        code = bytearray(pick.choice(group) for group in PREFIXES if pick.random() < 0.1)
        pick.shuffle(code)
        if self.kind == "other" and pick.random() < 0.15:
            code += LOCK
        if self.mode.width == 2 and pick.random() < 0.5:
            code.append(0x40 | pick.getrandbits(4))
        return bytes(code + self._opcode() + pick.randbytes(12))

    def _opcode(self) -> bytes:
        pick = self.random
        kind = pick.random()
        if self.kind == "ours":
            return b"" if kind < 0.6 else b"\x0f"
        if kind < 0.2:
            return bytes((0xd8 + pick.randrange(8),))
        if kind < 0.4:
            return b"\x0f" + pick.choice((b"\x38", b"\x3a"))
        return b"\x0f" if kind < 0.9 else b""


def _has_odd_prefixes(code: bytes, mode: Mode) -> bool:
    """Two prefixes of one group, or one behind REX: what that does is left open (SDM 2, 2.1.1 and 2.2.1)."""
    found: list[bytes] = []
    for byte in code:
        group = next((each for each in (*PREFIXES, LOCK, REX[:16 * (mode.width == 2)]) if byte in each), None)
        if group is None:
            return False
        if group in found or REX in found:
            return True
        found.append(group)
    return False
