"""The table as a page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.villain.stage import MODES
from tests.villain.trial import Verdict

from .table import Defect

PAGE = Path(__file__).parents[2] / "docs" / "security-table.md"
MARK = "<!-- python -m tests.security --page writes what follows -->\n"
WORST = (Verdict.WEDGED, Verdict.FAIL, Verdict.PASS)
KINDS = (("attacks", "here"), ("villain", "villain"), ("tests", "tests"), ("modeless", "tests without a mode"))


def page(defects: list[Defect], verdicts: dict[tuple[str, str], Counter]) -> str:
    """The page as it is, with its table anew.  `verdicts` are counted by name and mode."""
    return PAGE.read_text().split(MARK)[0] + MARK + "\n" + table(defects, verdicts) + "\n"


def table(defects: list[Defect], verdicts: dict[tuple[str, str], Counter]) -> str:
    head = ["| what | whose | defect | how it is tried, or why it cannot be here | " + " | ".join(MODES) + " |",
            "|---|---|---|---|" + "---|" * len(MODES)]
    return "\n".join(head + rows(defects, verdicts))


def rows(defects: list[Defect], verdicts: dict[tuple[str, str], Counter]) -> list[str]:
    return [f"| [{each.name}]({each.source}) | {each.where} | {each.what} | {_how(each)} | "
            + " | ".join(_verdict(each, mode, verdicts) for mode in MODES) + " |" for each in defects]


def _how(defect: Defect) -> str:
    if defect.never:
        return f"*cannot be*: {defect.never}"
    return "; ".join(f"{title}: " + ", ".join(f"`{name}`" for name in getattr(defect, kind))
                     for kind, title in KINDS if getattr(defect, kind))


def _verdict(defect: Defect, mode: str, verdicts: dict[tuple[str, str], Counter]) -> str:
    """The worst of all that were tried, and of how many it was; nothing of tests, which pytest runs."""
    total = sum((verdicts.get((name, mode), Counter()) for name in defect.attacks + defect.villain), Counter())
    worst = next((verdict for verdict in WORST if total[verdict]), None)
    if worst is None:
        return "-"
    return worst.value if worst is Verdict.PASS else f"{worst.value} {total[worst]}/{sum(total.values())}"
