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

from ..testing.bpf_run import machine_without_vcpus
from ..testing.driven_machine import DrivenMachine
from .compare import Shown, in_step
from .guest import Guest
from .qemu.against import next_step, opened
from .qemu.compare import as_a_driver
from .source import Source
from .steps import Step
from .strategy import Strategy

LOOK_S = 0.0005        # between two looks at what is in flight
QEMU = "qemu"       # the executor that is none of ours
KVM = "-kvm"        # what the name of an executor ends in whose accesses are a vCPU's


class Raised(str):
    """What a step raised."""


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
        """Where it is, and what was raised if that is it, but for numbers."""
        what = self.found if isinstance(self.found, Raised) else ""
        return re.sub(r"0x[0-9a-f]+|\d+", "", f"{self.mode} {self.where} {what}")

    def __str__(self) -> str:
        like = ", as with off" if self.mode != "off" else ""
        return f"step {self.number}: {self.where} is {self.found} with {self.mode}; wanted {self.wanted}{like}"


class NotInStep(AssertionError):
    """A device whose halves do not do the same."""

    def __init__(self, difference: Difference, text: str):
        super().__init__(f"{difference}\n{text}")
        self.difference = difference


class Lockstep:
    """Fresh executors of one device.  `off` is the first of them, whose halves cannot differ; of those under KVM there
    is one at most, as the exit path knows a VM by its process.  `patience_s` is that for what is in flight, where it is
    to be less than the guest has."""

    def __init__(self, strategy: Strategy, executors: Iterable[str], setting: dict[str, Any],
                 patience_s: float = float("inf")):
        self.strategy, self.setting, self._patience_s = strategy, setting, patience_s
        self.modes = ["off", *(mode for mode in executors if mode != "off")]
        self.guests: list[Guest] = []
        self.done = 0
        self._stack = ExitStack()

    def __enter__(self) -> Lockstep:
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            folder = self.folder = Path(tempfile.mkdtemp(prefix="splitvmm-verify-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            for mode in self.modes:
                own = folder / mode
                own.mkdir()
                self.guests.append(self._open(mode, own, stack))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, mode: str, folder: Path, stack: ExitStack) -> Guest:
        if mode == QEMU:
            return stack.enter_context(opened(self.strategy, self.guests[0], self.setting, folder))
        machine = DrivenMachine if mode.endswith(KVM) else machine_without_vcpus
        config = self.strategy.machine(mode.removesuffix(KVM), self.setting, folder)
        return self.strategy.open(stack.enter_context(machine(config)))

    def next(self, source: Source) -> Step:
        for guest in self.guests:
            if guest.mode == QEMU:
                return next_step(self.strategy, source, self.guests[0], guest)
        return self.strategy.next(source, self.guests[0])

    def do(self, step: Step) -> Difference | None:
        """Do a step on all; the first difference that it made.  That all of them raise the same is one, too: no guest
        may bring Python to that."""
        self.done += 1
        returned = [self._returned(guest, step) for guest in self.guests]
        for mode, answer in zip(self.modes, returned):
            if isinstance(answer, Raised) and all(isinstance(each, Raised) for each in returned):
                return Difference(mode, "what the step raises", answer, "nothing", self.done)
        raised = [guest.interrupted() for guest in self.guests]
        found = self._difference(returned, raised)
        deadline = monotonic() + min(self.guests[0].patience_s, self._patience_s)
        while found and monotonic() < deadline:     # what was in flight may be as good as done
            sleep(LOOK_S)
            raised = [[a or b for a, b in zip(lines, guest.interrupted())] for lines, guest in zip(raised, self.guests)]
            found = self._difference(returned, raised)
        return found

    def _difference(self, returned: list[Any], raised: list[list[bool]]) -> Difference | None:
        off, *others = [Shown(guest, {"what the step returns": answer, **guest.values()}, lines)
                        for guest, answer, lines in zip(self.guests, returned, raised)]
        for mode, shown in zip(self.modes[1:], others):
            if mode == QEMU:
                found = as_a_driver(shown, off, self.strategy.free | self.strategy.choices)
            else:
                found = in_step(shown, off, self.strategy.free)
            if found:
                return Difference(mode, *found, self.done)
        return None

    @staticmethod
    def _returned(guest: Guest, step: Step) -> Any:
        try:
            guest.begin()
            returned = guest.play(step)
            guest.settle()
            return returned
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return Raised(f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")

    def declined(self) -> dict[str, dict[str, int]]:
        return {mode: guest.declined for mode, guest in zip(self.modes[1:], self.guests[1:])}

    def handled(self) -> dict[str, int]:
        """What each kernel half did itself."""
        return {mode: guest.handled for mode, guest in zip(self.modes[1:], self.guests[1:])}


@contextmanager
def _quiet() -> Iterator[None]:
    """Every other step breaks a rule, and would be logged."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
