"""Where `on` takes longer than a peer."""

from __future__ import annotations

from dataclasses import dataclass

from .noise import Verdict, spread_verdict
from .rows import is_peer, label, longer


@dataclass(frozen=True)
class Loss:
    """A request that `on` takes longer for than a peer: rows of one run."""

    on: dict
    peer: dict

    @property
    def ratio(self) -> float:
        return self.on["ns_per_request"] / self.peer["ns_per_request"]

    @property
    def verdict(self) -> Verdict:
        return spread_verdict(self.peer, self.on)

    def said(self) -> str:
        text = longer(self.ratio, self.peer["mode"])
        return text if self.verdict == Verdict.SLOWER else f"{text}: {self.verdict}"


def duels(rows: list[dict]) -> list[Loss]:
    """`on` beside each peer, whoever wins."""
    ours = {(row["bench"], label(row)): row for row in rows if row["mode"] == "on"}
    return [Loss(ours[key], row) for row in rows if is_peer(row) and (key := (row["bench"], label(row))) in ours]


def losses(rows: list[dict]) -> list[Loss]:
    """The worst first, and those that may be noise behind all others."""
    order = (Verdict.SLOWER, Verdict.TOO_FEW, Verdict.NOISE)
    return sorted((duel for duel in duels(rows) if duel.ratio > 1),
                  key=lambda loss: (order.index(loss.verdict), -loss.ratio))
