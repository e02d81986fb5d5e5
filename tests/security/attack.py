"""What the table has beside the villain's violations: things that were done to other VMMs and break no rule, or that no
rule of VIRTIO speaks of."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from tests.villain.scene import Scene
from tests.villain.table import RINGS, TRANSPORTS, Outcome, Violation

_attacks: list[Violation] = []


def attack(section: str, must: str, *allowed: Outcome, on: tuple[str, ...] = ("blk",), rings: tuple[str, ...] = RINGS,
           transports: tuple[str, ...] = TRANSPORTS, features: int = 0) -> Callable[[Callable], Callable]:
    """Like tests.villain.table.breaks, but `must` is what the device has to see to."""
    def enter(do: Callable[[Scene], Outcome | None]) -> Callable:
        _attacks.extend(Violation(section, must, frozenset(allowed), do, victim, rings, transports, features, without=0)
                        for victim in on)
        return do
    return enter


def attacks() -> list[Violation]:
    """All that there are."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "attacks")]):
        importlib.import_module(f"tests.security.attacks.{module.name}")
    return list(_attacks)
