"""What is tried: an instruction, or several in a row, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

from .candidates import Candidate


@dataclass
class Trial:
    """What lies in a slot; `flags`: undefined behind a row."""

    kind: str
    instructions: list[Candidate]
    code: bytes
    at: int
    flags: int = 0

    @property
    def name(self) -> str:
        return self.instructions[0].name if self.kind != "row" else "row"

    @property
    def text(self) -> str:
        return "; ".join(each.text for each in self.instructions)

    @property
    def special(self) -> bool:
        return any(each.loads_segment() for each in self.instructions)
