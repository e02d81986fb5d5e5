"""Steps: what a guest, or the world around the machine, does, as plain data: a sequence can be read, kept and played
again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..errors import UserError

FORMAT = "splitvmm sequence 1"
MOST_BYTES = 64 << 20       # of a file


@dataclass(frozen=True)
class Step:
    """`kind` is the name of a method of a Guest's, `given` its arguments: numbers, texts, lists of such."""

    kind: str
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"{name}={_text(value)}" for name, value in self.given.items())])


def step(kind: str, **given: Any) -> Step:
    return Step(kind, given)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if abs(value) < 10 else f"{value:#x}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def script(steps: Iterable[Step]) -> str:
    """A line a step, numbered from 1."""
    return "".join(f"{number:5}  {each}\n" for number, each in enumerate(steps, 1))


@dataclass(frozen=True)
class Sequence:
    """Steps from a fresh device on, and what they were played on."""

    device: str
    setting: dict[str, Any]         # transport, rings
    executors: list[str]
    steps: list[Step]
    seed: int | None = None


def save(sequence: Sequence, path: Path) -> None:
    path.write_text(json.dumps({
        "format": FORMAT, "device": sequence.device, "setting": sequence.setting, "executors": sequence.executors,
        "seed": sequence.seed, "steps": [[each.kind, each.given] for each in sequence.steps]}, indent=1) + "\n")


def load(path: Path) -> Sequence:
    """Raises UserError."""
    try:
        found = json.loads(files.read(path, MOST_BYTES))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; wanted a sequence that verify saved") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}; wanted a sequence that verify saved") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UserError(f"{path}: no {FORMAT!r} in it; wanted a sequence that verify saved")
    try:
        return Sequence(_is(found["device"], str), _is(found["setting"], dict),
                        [_is(each, str) for each in found["executors"]],
                        [Step(_is(kind, str), _is(given, dict)) for kind, given in found["steps"]], found.get("seed"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {error!r}; wanted a sequence that verify saved") from None


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r}; wanted {kind.__name__}")
    return value
