"""What runs a vCPU: an executor is given a state, runs it, and says why it stopped."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from ..devmodel.view import View


class Why(enum.IntEnum):
    """Why an executor stopped: enum emulator_stop, vmm/native/emulator.h."""

    BUDGET = 0          # as many basic blocks as it was told
    ASKED = 1           # by `ask`
    LEFT = 2            # before what it does not run
    HALTED = 3          # behind HLT
    EXCEPTION = 4       # before the instruction, or behind it where it is an INT
    SYSCALL = 5         # at SYSCALL (vector 0) or SYSENTER (1)
    NOWHERE = 6         # at an access of an address that has nothing there
    FAILED = 7          # what answers accesses did
    REFUSED = 8         # the emulator gave up


WITH_ERROR = (8, 10, 11, 12, 13, 14, 17, 21, 29, 30)    # SDM 3, table 6-1; 29 and 30: APM 2, table 8-1


@dataclass(frozen=True)
class Stop:
    """Why, and of an exception its vector (SDM 3, table 6-1) and error code, and whether an INT raised it."""

    why: Why
    vector: int = 0
    error: int = 0
    is_int: bool = False


class Accesses(Protocol):
    """Where an executor's accesses go: as those of KVM's exits do.  `bus` is that of vmm/devmodel/exit_path.py, widths
    are in bytes."""

    def read(self, bus: int, address: int, width: int) -> int: ...

    def write(self, bus: int, address: int, width: int, value: int) -> None: ...

    def raise_(self, line: int) -> None:
        """An interrupt that the native exit path asks for: Interrupts.raise_."""

    def cpuid(self, leaf: int, index: int) -> tuple[int, int, int, int]:
        """What CPUID says: eax, ebx, ecx, edx."""


class Executor(Protocol):
    """One vCPU's."""

    def run(self, state: View, blocks: int) -> Stop:
        """Run `state` (a VcpuState) for at most so many basic blocks, and leave in it what became of it.  Raises
        NotTransferable for a state that it cannot have."""

    def ask(self) -> None:
        """Any thread: stop the run that is under way, or the next one."""
