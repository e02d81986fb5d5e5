"""The table of what hit other VMMs and vhost, and what of ours stands against it.

A row names what is tried here: attacks of this folder and violations of tests/villain, both in every mode; tests that
have a mode for a parameter; tests of what has no mode, as no handler has a part in it.  Or it says why that cannot
happen here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Defect:
    """One CVE, advisory or issue.  The tuples have names: of functions, of `FILE::FUNCTION` below tests/."""

    name: str               # as its publisher has it
    where: str              # whose it was
    what: str               # the defect, in our words
    source: str             # where that is told: a URL
    attacks: tuple[str, ...] = ()
    villain: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()         # run in each mode that there is
    modeless: tuple[str, ...] = ()      # tests of what no mode has a part in
    never: str = ""                     # why it cannot be here

    @property
    def tried(self) -> tuple[str, ...]:
        return self.attacks + self.villain + self.tests + self.modeless


_table: list[Defect] = []


def rows_of(source: str) -> Callable[..., None]:
    """Enters rows that have `{}` of this URL in common.  Names are words of one text."""
    def row(name: str, where: str, what: str, *, at: str = "", never: str = "", **tried: Any) -> None:
        found = {kind: tuple(names.split()) for kind, names in tried.items()}
        _table.append(Defect(name, where, what, at or source.format(name), never=never, **found))
    return row


def defects() -> list[Defect]:
    """All rows, file by file."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "rows")]):
        importlib.import_module(f"tests.security.rows.{module.name}")
    return list(_table)
