"""Sequence after sequence, each on fresh executors, until one falls out of step or the time is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from .lockstep import Difference, Lockstep, NotInStep
from .shrink import shrunk
from .source import Drawn, Seeded
from .steps import Sequence as Played
from .steps import Step, script
from .strategy import Strategy

STEPS = 400             # of one sequence
SHRINK_S = 60.0
SHRINK_PATIENCE_S = 0.1     # for what is in flight: most tries differ, and what is found is tried once more


@dataclass
class Result:
    """What came of a campaign; of several workers, of all of them."""

    steps: int = 0
    sequences: int = 0
    seconds: float = 0.0
    kinds: Counter = field(default_factory=Counter)                     # of steps
    handled: Counter = field(default_factory=Counter)                   # by the kernel half, by mode
    declined: dict[str, Counter] = field(default_factory=dict)          # mode -> reason -> how often
    difference: Difference | None = None
    sequence: Played | None = None

    def add(self, other: Result) -> None:
        self.steps, self.sequences = self.steps + other.steps, self.sequences + other.sequences
        self.seconds = max(self.seconds, other.seconds)
        self.kinds += other.kinds
        self.handled.update(other.handled)      # += would forget who did nothing
        for mode, counts in other.declined.items():
            self.declined.setdefault(mode, Counter()).update(counts)
        if self.difference is None:
            self.difference, self.sequence = other.difference, other.sequence


class Campaign:
    """`name` is how the device is called, in what is saved."""

    def __init__(self, strategy: Strategy, name: str, executors: Sequence[str], setting: dict[str, Any]):
        self.strategy, self.name, self.executors, self.setting = strategy, name, list(executors), setting

    def run(self, seed: int, seconds: float | None, steps: int | None = None,
            progress: Callable[[Result], None] = lambda result: None) -> Result:
        """For that long, or for so many steps; ends with the first difference, whose sequence is made short."""
        result, began = Result(), monotonic()
        while not result.difference and (seconds is None or monotonic() - began < seconds) and (
                steps is None or result.steps < steps):
            self._sequence(seed + result.sequences, result)
            result.seconds = monotonic() - began
            progress(result)
        if result.difference:
            self._shorten(result)
        return result

    def _sequence(self, seed: int, result: Result) -> None:
        source, played = Seeded(seed), list[Step]()
        with Lockstep(self.strategy, self.executors, self.setting) as lockstep:
            while len(played) < STEPS and not result.difference:
                step = lockstep.next(source)
                played.append(step)
                result.kinds[step.kind] += 1
                result.difference = lockstep.do(step)
            result.handled.update(lockstep.handled())
            for mode, counts in lockstep.declined().items():
                result.declined.setdefault(mode, Counter()).update(counts)
        result.steps += len(played)
        result.sequences += 1
        if result.difference:
            result.sequence = Played(self.name, self.setting, self.executors, played, seed)

    def replay(self, steps: list[Step], patience_s: float = float("inf")) -> Difference | None:
        """Raises UserError for steps that the device's guest does not have, or that lack what they take."""
        with Lockstep(self.strategy, self.executors, self.setting, patience_s) as lockstep:
            guest = type(lockstep.guests[0])
            for number, step in enumerate(steps, 1):
                guest.check(step, number)
            for step in steps:
                if difference := lockstep.do(step):
                    return difference
        return None

    def _shorten(self, result: Result) -> None:
        assert result.sequence and result.difference
        before, first = result.sequence.steps, result.difference
        if not self.replay(before):         # it takes more than the steps: chance, or time
            return

        def same(steps: list[Step]) -> bool:
            """Whether they make the same difference, and not one of their own."""
            found = self.replay(steps, SHRINK_PATIENCE_S)
            return found is not None and found.kind == first.kind
        steps = shrunk(before, same, SHRINK_S)
        again = self.replay(steps)
        if again:
            result.difference = again
            result.sequence = replace(result.sequence, steps=steps[:again.number])


def verify(strategy: Strategy, executors: Sequence[str] = ("off", "host", "on"), seconds: float | None = 5,
           steps: int | None = None, seed: int = 0, **setting: Any) -> Result:
    """Play sequences for `seconds`, or until there were `steps`.  Raises NotInStep, with the sequence as it was made
    short."""
    result = Campaign(strategy, "", executors, setting).run(seed, seconds, steps)
    if result.difference and result.sequence:
        raise NotInStep(result.difference, script(result.sequence.steps))
    return result


def stateful(strategy: Strategy, executors: Sequence[str] = ("off", "host", "on"), **setting: Any) -> Any:
    """The same as a state machine of hypothesis, which shrinks by itself and keeps failures in its database:
    `TestAdder = stateful(strategy).TestCase`."""
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

    class InStep(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.lockstep = Lockstep(strategy, executors, setting)
            self.lockstep.__enter__()

        @rule(data=st.data())
        def step(self, data: Any) -> None:
            step = self.lockstep.next(Drawn(data.draw))
            if difference := self.lockstep.do(step):
                raise NotInStep(difference, str(step))

        def teardown(self) -> None:
            if hasattr(self, "lockstep"):
                self.lockstep.__exit__()
    return InStep

