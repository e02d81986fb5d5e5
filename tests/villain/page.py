"""The table as a page: sections and modes."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path

from .stage import MODES
from .table import KINDS, RINGS, TRANSPORTS, Violation
from .trial import Verdict

PAGE = Path(__file__).parents[2] / "docs" / "villain.md"
MARK = "<!-- python -m tests.villain --page writes what follows -->\n"
WORST = (Verdict.WEDGED, Verdict.FAIL, Verdict.PASS)


def page(violations: list[Violation], verdicts: dict) -> str:
    """The page as it is, with its table anew."""
    return PAGE.read_text().split(MARK)[0] + MARK + "\n" + table(violations, verdicts) + "\n"


def table(violations: list[Violation], verdicts: dict) -> str:
    """A row a violation: section, rule, what is done, on what, what may come of it, and the verdicts."""
    lines = ["| section | a driver must see that | here | devices | allowed | " + " | ".join(MODES) + " |",
             "|---|---|---|---|---|" + "---|" * len(MODES)]
    for _, each in groupby(violations, lambda violation: (violation.section, violation.do)):
        group = list(each)
        first = group[0]
        lines.append(f"| {first.section} | {first.must} | {first.done}{_where(first)} | {_devices(group)} | "
                     f"{_allowed(first)} | " + " | ".join(_verdict(group, mode, verdicts) for mode in MODES) + " |")
    return "\n".join(lines)


def _where(violation: Violation) -> str:
    told = [kind for kinds, all_kinds in ((violation.rings, RINGS), (violation.transports, TRANSPORTS))
            if kinds != all_kinds for kind in kinds]
    return f" ({', '.join(told)})" if told else ""


def _devices(group: list[Violation]) -> str:
    found = [violation.victim for violation in group]
    return "all" if len(found) == len(KINDS) else ", ".join(found)


def _allowed(violation: Violation) -> str:
    named = [outcome.value for outcome in type(next(iter(violation.allowed))) if outcome in violation.allowed]
    return "any" if len(named) == len(type(next(iter(violation.allowed)))) else " or ".join(named)


def _verdict(group: list[Violation], mode: str, verdicts: dict) -> str:
    """The worst of all, and of how many it was."""
    total = sum((verdicts.get((violation, mode), Counter()) for violation in group), Counter())
    worst = next((verdict for verdict in WORST if total[verdict]), None)
    if worst is None:
        return "-"
    return worst.value if worst is Verdict.PASS else f"{worst.value} {total[worst]}/{sum(total.values())}"
