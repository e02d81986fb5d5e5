"""The table of violations: what the specification forbids a driver, how it is done, and what may come of it.

Sections are those of VIRTIO 1.2 (OASIS, csd01); 1.3 has the same numbers.
"""

from __future__ import annotations

import enum
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scene import Scene

RINGS, TRANSPORTS = ("split", "packed"), ("mmio", "pci")
KINDS = ("blk", "net", "console", "rng")


class Outcome(enum.Enum):
    """What a device answers."""

    NEEDS_RESET = "needs reset"     # DEVICE_NEEDS_RESET (2.1.2)
    REFUSED = "refused"             # what was written reads back otherwise
    ERROR = "error status"          # the device type's own
    SERVED = "served"               # as if no rule had been broken
    IGNORED = "ignored"             # nothing is used, and the status is as before


NEEDS_RESET, REFUSED, ERROR, SERVED, IGNORED = Outcome
ANY = tuple(Outcome)


@dataclass(frozen=True)
class Violation:
    """One rule, broken in one way."""

    section: str
    must: str               # the rule, in our words
    allowed: frozenset[Outcome]
    do: Callable[[Scene], Outcome | None]   # breaks it; without an outcome, the queue and the status tell
    victim: str             # of KINDS
    rings: tuple[str, ...]
    transports: tuple[str, ...]
    features: int           # accepted beside those of every driver
    without: int            # not accepted

    @property
    def name(self) -> str:
        return f"{self.section}-{self.do.__name__}-{self.victim}"

    @property
    def done(self) -> str:
        """What the driver does."""
        return " ".join((self.do.__doc__ or "").split())

    def fits(self, rings: str, transport: str) -> bool:
        return rings in self.rings and transport in self.transports


class Table:
    """Violations, by the functions that commit them: those of all modules in a folder, once they are asked for."""

    def __init__(self, package: str, folder: Path):
        """`package` is the folder's name as modules have it."""
        self._package, self._folder = package, folder
        self._entered: list[Violation] = []

    def enter(self, section: str, must: str, *allowed: Outcome, on: tuple[str, ...] = ("blk",),
              rings: tuple[str, ...] = RINGS, transports: tuple[str, ...] = TRANSPORTS, features: int = 0,
              without: int = 0) -> Callable[[Callable], Callable]:
        """Put a function into the table, once for each kind of device that it is done to."""
        def entered(do: Callable[[Scene], Outcome | None]) -> Callable:
            self._entered.extend(Violation(section, must, frozenset(allowed), do, victim, rings, transports, features,
                                           without) for victim in on)
            return do
        return entered

    def all(self) -> list[Violation]:
        for module in pkgutil.iter_modules([str(self._folder)]):
            importlib.import_module(f"{self._package}.{module.name}")
        return list(self._entered)


_table = Table("tests.villain.violations", Path(__file__).parent / "violations")
breaks = _table.enter


def violations() -> list[Violation]:
    """All that there are, by section."""
    return sorted(_table.all(), key=lambda each: [int(part) for part in each.section.split(".")])
