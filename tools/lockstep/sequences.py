"""Instructions in a row that need no memory, for flags that an emulator computes late (lazy condition codes)."""

from __future__ import annotations

from collections.abc import Iterator

from capstone import x86

from .candidates import Candidate, Source
from .undefined import AF, ALL, CF, OF, PF, SF, ZF, flags_of
from .values import full

LENGTH = range(5, 21)               # instructions
CONDITIONS = {                      # what SETcc, CMOVcc and so on look at (SDM 1, appendix B)
    "o": OF, "no": OF, "b": CF, "ae": CF, "e": ZF, "ne": ZF, "be": CF | ZF, "a": CF | ZF, "s": SF, "ns": SF, "p": PF,
    "np": PF, "l": SF | OF, "ge": SF | OF, "le": SF | OF | ZF, "g": SF | OF | ZF}
READS = {"adc": CF, "sbb": CF, "rcl": CF, "rcr": CF, "cmc": CF, "lahf": ALL & ~OF, "daa": CF | AF, "das": CF | AF,
         "aaa": AF, "aas": AF, "salc": CF}
WRITES = {"clc": CF, "stc": CF, "cmc": CF, "sahf": ALL & ~OF, "inc": ALL & ~CF, "dec": ALL & ~CF}
ALL_OF = frozenset("add adc sub sbb cmp neg and or xor test mul imul".split())       # all that they leave defined
# whose results may be undefined, or an exception; and what KVM's own emulator has not, or has wrong (known.py)
NOT_IN_ROWS = "bsf bsr shld shrd bswap div idiv aaa aas aad aam daa das nop lfence sfence mfence".split()


def reads(name: str) -> int:
    """Flags that an instruction looks at."""
    for prefix in ("set", "cmov"):
        if name.startswith(prefix):
            return CONDITIONS[name.removeprefix(prefix)]
    return READS.get(name, 0)


def undefined_after(candidate: Candidate, before: int) -> int:
    """Flags that are undefined behind it, of those that were before."""
    own = flags_of(candidate, None)
    written = ALL if candidate.name in ALL_OF else WRITES.get(candidate.name, 0)
    return before & ~written | own


def in_row(instruction: Candidate) -> bool:
    """Whether it touches general registers and flags alone, but for the stack's."""
    operands = instruction.decoded.operands
    if instruction.name in NOT_IN_ROWS or instruction.memory() or instruction.loads_segment():
        return False
    read, written = instruction.decoded.regs_access()
    if "rsp" in {full(instruction.decoded.reg_name(each)) for each in (*read, *written)}:
        return False
    return instruction.name not in ("xlatb", "enter", "leave", "pushaw", "pushal", "popaw", "popal", "lea") and \
        not instruction.name.startswith(("push", "pop", "movs", "stos", "lods", "scas", "cmps")) and \
        not any(each.type == x86.X86_OP_REG and each.reg in SEGMENT for each in operands)


SEGMENT = frozenset(getattr(x86, f"X86_REG_{name}S") for name in "CDEFGS")


class Rows:
    """Rows of a source's instructions; what one leaves undefined none of those behind it looks at."""

    def __init__(self, source: Source):
        self.source = source

    def next(self) -> tuple[list[Candidate], int]:
        """And the flags that are undefined behind it."""
        found: list[Candidate] = []
        undefined, wanted = 0, self.source.random.choice(LENGTH)
        for each in self._candidates():
            if reads(each.name) & undefined:
                continue
            found.append(each)
            undefined = undefined_after(each, undefined)
            if len(found) == wanted:
                return found, undefined
        raise AssertionError("there is always one more")

    def _candidates(self) -> Iterator[Candidate]:
        while True:
            each = self.source.next()
            if in_row(each):
                yield each
