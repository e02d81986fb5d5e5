"""One violation on one stage, and what was to be seen afterwards."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tools.driver import DRIVER_OK, NEEDS_RESET

from .scene import Scene, Unexpected
from .stage import MODES, SETTINGS, Setting, Stage
from .table import Outcome, Violation


class Verdict(enum.Enum):
    PASS = "PASS"
    FAIL = "FAIL"           # an answer that is not allowed, a stray write, another device that stands still
    WEDGED = "WEDGED"       # no answer, or a device that does not work after a reset


@dataclass(frozen=True)
class Result:
    verdict: Verdict
    outcome: Outcome | None = None
    why: str = ""


def cases(violations: list[Violation], all_settings: bool) -> list[tuple[Setting, Violation]]:
    """What is to be tried, one setting after the other; else each violation once in each mode, by one kind of ring and
    one transport, which take turns."""
    found = []
    for number, violation in enumerate(violations):
        fitting = [each for each in SETTINGS if violation.fits(each.rings, each.transport)]
        for turn, mode in enumerate(MODES):
            of_mode = [each for each in fitting if each.mode == mode]
            chosen = of_mode if all_settings else [of_mode[(number + turn) % len(of_mode)]]
            found += [(setting, violation) for setting in chosen]
    return sorted(found, key=lambda case: SETTINGS.index(case[0]))


class Failed(Exception):
    """A check that does not hold."""

    def __init__(self, verdict: Verdict, why: str):
        super().__init__(why)
        self.verdict = verdict


def attempt(stage: Stage, violation: Violation) -> Result:
    """Break the rule; then the three checks."""
    outcome = None
    try:
        scene = _set_up(stage, violation)
        before = stage.outside(violation.victim)
        outcome = _broken(scene, violation)
        _check_told(scene)
        _check_nothing_else_changed(scene, violation, before)
        _check_others_go_on(stage, violation)
        _check_works_after_reset(scene)
        if outcome not in violation.allowed:
            raise Failed(Verdict.FAIL, f"{outcome.value}; wanted {', '.join(each.value for each in violation.allowed)}")
    except Failed as failed:
        return Result(failed.verdict, outcome, str(failed))
    return Result(Verdict.PASS, outcome)


def _set_up(stage: Stage, violation: Violation) -> Scene:
    victim = stage.drivers[violation.victim]
    stage.mirror.accept()
    victim.again(violation.features, violation.without)
    return Scene(stage, victim)


def _broken(scene: Scene, violation: Violation) -> Outcome:
    try:
        outcome = violation.do(scene)
        scene.victim.settle()
        return outcome or scene.outcome()
    except Unexpected as error:
        raise Failed(Verdict.FAIL, str(error)) from None
    except AssertionError as error:
        raise Failed(Verdict.WEDGED, f"no answer: {error}") from error
    except Exception as error:      # whatever it is, the guest has made the VMM fail
        raise Failed(Verdict.FAIL, f"the VMM: {error!r}") from error


def _check_told(scene: Scene) -> None:
    """A live device that needs a reset says so by a configuration change (2.1.2)."""
    told_of = NEEDS_RESET | DRIVER_OK
    if scene.read("status") & told_of == told_of and not scene.configuration_changed():
        raise Failed(Verdict.FAIL, "needs a reset; wanted a configuration change that tells")


def _check_nothing_else_changed(scene: Scene, violation: Violation, before: dict[str, bytes]) -> None:
    if (at := scene.memory.stray()) is not None:
        raise Failed(Verdict.FAIL, f"guest memory at {at:#x} changed, which was not the device's to write")
    after = scene.stage.outside(violation.victim)
    for name, found in after.items():
        if found != before[name] and name not in scene.may_change:
            raise Failed(Verdict.FAIL, f"{name} changed")


def _check_others_go_on(stage: Stage, violation: Violation) -> None:
    for name, driver in stage.drivers.items():
        if name != violation.victim:
            try:
                driver.probe()
            except (AssertionError, OSError) as error:
                raise Failed(Verdict.FAIL, f"{name} does not go on: {error!r}") from error


def _check_works_after_reset(scene: Scene) -> None:
    try:
        scene.victim.again()
        scene.victim.probe()
    except (AssertionError, OSError) as error:
        raise Failed(Verdict.WEDGED, f"does not work after a reset: {error!r}") from error
