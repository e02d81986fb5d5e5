"""Executors in lockstep: a step is done on all of them, and what they show is held against what `off` shows."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..devmodel.view import ffi
from ..testing.bpf_run import machine_without_vcpus
from .guest import Area, Guest
from .source import Source
from .steps import Step
from .strategy import Strategy

LOOK_S = 0.0005         # between two looks at what is in flight


@dataclass(frozen=True)
class Difference:
    """The first one that a step made: in `mode`, `where` is `found`, and in `off` it is `wanted`."""

    mode: str
    where: str
    found: str
    wanted: str
    number: int         # of the step, from 1

    @property
    def kind(self) -> str:
        """Where it is, but for numbers."""
        return re.sub(r"0x[0-9a-f]+|\d+", "", f"{self.mode} {self.where}")

    def __str__(self) -> str:
        return f"step {self.number}: {self.where} is {self.found} with {self.mode}; wanted {self.wanted}, as with off"


class NotInStep(AssertionError):
    """A device whose halves do not do the same."""

    def __init__(self, difference: Difference, text: str):
        super().__init__(f"{difference}\n{text}")
        self.difference = difference


class Lockstep:
    """Fresh executors of one device.  `off` is the first of them, whose halves cannot differ."""

    def __init__(self, strategy: Strategy, executors: Iterable[str], setting: dict[str, Any]):
        self.strategy, self.setting = strategy, setting
        self.modes = ["off", *(mode for mode in executors if mode != "off")]
        self.guests: list[Guest] = []
        self.done = 0
        self._stack = ExitStack()

    def __enter__(self) -> Lockstep:
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            folder = Path(tempfile.mkdtemp(prefix="splitvmm-verify-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            for mode in self.modes:
                own = folder / mode
                own.mkdir()
                machine = stack.enter_context(machine_without_vcpus(self.strategy.machine(mode, self.setting, own)))
                self.guests.append(self.strategy.open(machine))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def next(self, source: Source) -> Step:
        return self.strategy.next(source, self.guests[0])

    def do(self, step: Step) -> Difference | None:
        """Do a step on all; the first difference that it made."""
        self.done += 1
        returned = [self._returned(guest, step) for guest in self.guests]
        raised = [guest.interrupted() for guest in self.guests]
        found, deadline = self._difference(returned, raised), monotonic() + self.guests[0].patience_s
        while found and monotonic() < deadline:     # what was in flight may be as good as done
            sleep(LOOK_S)
            raised = [[a or b for a, b in zip(lines, guest.interrupted())] for lines, guest in zip(raised, self.guests)]
            found = self._difference(returned, raised)
        return found

    def _difference(self, returned: list[Any], raised: list[list[bool]]) -> Difference | None:
        values = [{"what the step returns": answer, **guest.values()} for answer, guest in zip(returned, self.guests)]
        for number, guest in enumerate(self.guests[1:], 1):
            found = self._values(values[number], values[0]) or \
                self._interrupts(guest, raised[number], raised[0]) or self._areas(guest)
            if found:
                return Difference(guest.mode, *found, self.done)
        return None

    @staticmethod
    def _returned(guest: Guest, step: Step) -> Any:
        try:
            guest.begin()
            returned = getattr(guest, step.kind)(**step.given)
            guest.settle()
            return returned
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"

    # the first difference: where, what was found, what was wanted

    def _values(self, outcome: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, str, str] | None:
        for name, value in wanted.items():
            if outcome[name] != value and name not in self.strategy.free:
                return name, str(outcome[name]), str(value)
        return None

    def _areas(self, guest: Guest) -> tuple[str, str, str] | None:
        for theirs, ours in zip(self.guests[0].areas, guest.areas):
            if theirs.name not in self.strategy.free and (found := _byte(theirs, ours)):
                return found
        return None

    def _interrupts(self, guest: Guest, lines: list[bool], wanted_lines: list[bool]) -> tuple[str, str, str] | None:
        """None may be missing, and none be there without a reason, unless the device's may be spurious."""
        if self.guests[0].cause & ~guest.cause:
            return "the interrupt's cause", f"{guest.cause:#x}", f"{self.guests[0].cause:#x} or more"
        for line, (raised, wanted) in enumerate(zip(lines, wanted_lines)):
            if wanted and not raised:
                return f"interrupt of line {line}", "missing", "raised"
            if raised and not wanted and not guest.spurious:
                return f"interrupt of line {line}", "raised", "none"
        return None

    def declined(self) -> dict[str, dict[str, int]]:
        return {guest.mode: guest.declined for guest in self.guests[1:]}

    def handled(self) -> dict[str, int]:
        """What each kernel half did itself."""
        return {guest.mode: guest.handled for guest in self.guests[1:]}


def _byte(wanted: Area, found: Area) -> tuple[str, str, str] | None:
    """The first byte that differs."""
    theirs, ours = (ffi.buffer(ffi.cast("char *", area.address), area.size) for area in (wanted, found))
    if theirs == ours:      # memcmp
        return None
    at = next(i for i in range(wanted.size) if theirs[i] != ours[i])
    end = min(at + 8, wanted.size)
    return (f"{wanted.name}, {wanted.tell(at)}", ours[at:end].hex(" "), theirs[at:end].hex(" "))


@contextmanager
def _quiet() -> Iterator[None]:
    """Every other step breaks a rule, and would be logged."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
