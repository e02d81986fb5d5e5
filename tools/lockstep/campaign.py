"""Steps in one mode, and what is made of a difference: the registers that it needs."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from .candidates import Source
from .comparing import Differs, compared
from .known import Known, explained
from .sequences import Rows
from .sides import EmulatorSide, KvmSide, Outcome
from .trial import Trial
from .undefined import Undefined, undefined
from .values import Values, aimed_code
from .world import CODE, CODE_BYTES, DONE_PORT, SLOT, WRITABLE, Mode

KINDS = ("ours", "row", "other")        # a row: several of `ours`
ROW_SLOT = 256                          # bytes
STATES = {"ours": 4, "row": 4, "other": 3}     # tried with each instruction
END = bytes([0xe6, DONE_PORT, 0xeb, 0xfe])      # out DONE_PORT, al; jmp to itself
MOST_SHOWN = 1                          # differences of a kind that are kept
FLAGS_KEPT = ("rflags", "rip", "rsp")


@dataclass
class Difference:
    """An instruction, or a row of them, registers before, and what differs behind it."""

    mode: str
    kind: str
    name: str
    text: str
    code: bytes
    general: dict[str, int]
    fields: list[Differs]
    floats: bytes = b""

    def __str__(self) -> str:
        registers = "  ".join(f"{name} {value:#x}" for name, value in self.general.items() if value)
        return "\n".join([f"{self.mode}: {self.text}   [{self.code.hex()}]", f"  before: {registers}",
                          *(f"  {each}" for each in self.fields)])


@dataclass
class Found:
    """Of a mode: steps by kind, how they ended, what KVM refused, and differences, those that are explained counted."""

    steps: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    explained: Counter[Known] = field(default_factory=Counter)
    differences: Counter[tuple[str, ...]] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)


class Campaign:
    """In one mode.  Raises UserError where KVM, or the emulator, cannot be had."""

    def __init__(self, mode: Mode, seed: int):
        self.mode, self.random, self.found = mode, random.Random(f"{seed} {mode.name}"), Found()
        self.kvm = KvmSide(mode)
        self.emulator = EmulatorSide(mode, self.kvm.fields)
        self.values = Values(mode, self.kvm.fields, self.random)
        self.sources = {kind: Source(mode, kind, self.random) for kind in ("ours", "other")}
        self.rows = Rows(Source(mode, "ours", self.random))
        self._world = b""       # memory before each step

    def run(self, steps: dict[str, int]) -> Found:
        """At least so many of each kind."""
        for kind, wanted in steps.items():
            while self.found.steps[kind] < wanted:
                self._batch(kind, wanted - self.found.steps[kind])
        return self.found

    def _batch(self, kind: str, most: int) -> None:
        """As many as the code's memory holds."""
        size = ROW_SLOT if kind == "row" else SLOT
        slots = range(CODE, CODE + CODE_BYTES, size)[:-(-most // STATES[kind])]
        trials = [self._row(at) if kind == "row" else self._single(kind, at) for at in slots]
        memory = self.values.memory(WRITABLE.stop - WRITABLE.start)
        for side in (self.kvm, self.emulator):
            side.view[WRITABLE] = memory
        for each in trials:
            self.put(each)
        self._world = bytes(self.kvm.view)
        for each in trials:
            for _ in range(STATES[kind]):
                self._step(each)

    def put(self, trial: Trial) -> None:
        """Its code, where it runs."""
        code = trial.code + END
        for side in (self.kvm, self.emulator):
            side.view[trial.at:trial.at + len(code)] = code
        self.emulator.new_code()

    def _single(self, kind: str, at: int) -> Trial:
        candidate = self.sources[kind].next()
        return Trial(kind, [candidate], aimed_code(candidate, self.mode, self.values, at), at)

    def _row(self, at: int) -> Trial:
        instructions, flags = self.rows.next()
        return Trial("row", instructions, b"".join(each.code for each in instructions), at, flags)

    def _step(self, trial: Trial) -> None:
        one = trial.instructions[0] if trial.kind != "row" else None
        general = self.values.general(trial.at, one)
        floats = self.values.floats() if trial.kind == "other" else b""
        fields, kvm = self.both(trial, general, floats)
        self.found.steps[trial.kind] += 1
        self.found.ends[kvm.end or "done"] += 1
        for each in trial.instructions:
            self.found.names[each.name] += 1
        if kvm.end == "refused":
            self.found.refused[trial.name] += 1
        elif fields:
            self._differs(trial, general, floats, fields)

    def both(self, trial: Trial, general: dict[str, int], floats: bytes) -> tuple[list[Differs], Outcome]:
        """One step on both; what differs, and KVM's outcome."""
        kvm, emulator = (side.step(general, floats, trial.special) for side in (self.kvm, self.emulator))
        if not (kvm.ran and emulator.ran and kvm.memory == emulator.memory == self._world):
            self._restore()
        if trial.kind == "row":
            left_open = Undefined(trial.flags)
        else:
            left_open = undefined(trial.instructions[0], general, kvm.general.get("rflags", 0))
        return compared(self.mode, kvm, emulator, left_open, trial.special), kvm

    def _restore(self) -> None:
        """Code as well: one of them may have written where the other had an exception."""
        for side in (self.kvm, self.emulator):
            side.view[:] = self._world
        self.emulator.new_code()

    def _differs(self, trial: Trial, general: dict[str, int], floats: bytes, fields: list[Differs]) -> None:
        found = self.found
        whys = [explained(self.mode, trial, each, fields) for each in fields]
        if all(whys):
            found.explained.update(set(whys))
            return
        fields = [each for each, why in zip(fields, whys) if not why]
        key = (self.mode.name, trial.name, *(each.field.split("[")[0] for each in fields))
        found.differences[key] += 1
        if found.differences[key] <= MOST_SHOWN:
            general, fields = self._smaller(trial, general, floats, fields)
            found.examples.append(Difference(self.mode.name, trial.kind, trial.name, trial.text, trial.code, general,
                                             fields, floats))

    def _smaller(self, trial: Trial, general: dict[str, int], floats: bytes,
                 fields: list[Differs]) -> tuple[dict[str, int], list[Differs]]:
        """Registers that it needs not are 0."""
        for name in [name for name, value in general.items() if value and name not in FLAGS_KEPT]:
            tried = general | {name: 0}
            all_now = self.both(trial, tried, floats)[0]
            now = [each for each in all_now if not explained(self.mode, trial, each, all_now)]
            if {each.field for each in now} >= {each.field for each in fields}:
                general, fields = tried, now
        return general, fields

    def close(self) -> None:
        self.emulator.close()
        self.kvm.close()
