"""Two files of rows: what changed from one to the other beyond noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

from ..errors import UserError
from . import saved
from .noise import CHANGE, Verdict, verdict
from .rows import identity, is_peer, label, longer
from .saved import Saved
from .tables import Grid, console, rich_table

COUNTS = {"exits_to_user": "to user", "handled": "handled", "declined": "declined",
          "doorbells": "doorbells", "interrupts": "interrupts"}
COUNT_CHANGE = 0.05     # of a doorbell, and of the count
SAME_MACHINE = ("kernel", "cpu", "cpus")
ONLY_A, ONLY_B = "only in A", "only in B"
STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "bold red", Verdict.TOO_FEW: "yellow", ONLY_A: "dim", ONLY_B: "dim"}


@dataclass(frozen=True)
class Pair:
    """One row of both files, or of the one that has it."""

    a: dict | None
    b: dict | None

    @property
    def row(self) -> dict:
        return self.b or self.a

    @property
    def ratio(self) -> float | None:
        return self.b["ns_per_request"] / self.a["ns_per_request"] if self.a and self.b else None

    @cached_property
    def verdict(self) -> str:
        if not self.a or not self.b:
            return ONLY_A if self.a else ONLY_B
        return verdict(self.a, self.b)

    def counts(self) -> list[tuple[str, float, float]]:
        """What is counted, per request, and is another number now."""
        if not self.a or not self.b:
            return []
        found = []
        for key, name in COUNTS.items():
            a, b = (None if row.get(key) is None else row[key] / max(1, row["requests"]) for row in (self.a, self.b))
            if None not in (a, b) and abs(a - b) > COUNT_CHANGE * max(1 / max(1, self.row["depth"]), abs(a), abs(b)):
                found.append((name, a, b))
        return found


@dataclass(frozen=True)
class Comparison:
    """All rows of A and B."""

    a: Saved
    b: Saved
    pairs: list[Pair]

    def of(self, said: str) -> list[Pair]:
        return [pair for pair in self.pairs if pair.verdict == said]

    @property
    def worse(self) -> list[Pair]:
        """Rows of ours that are slower: a peer's are not for us to answer."""
        return [pair for pair in self.of(Verdict.SLOWER) if not is_peer(pair.row)]

    def summary(self) -> str:
        """How many rows of each verdict."""
        counts = [f"{len(found)} {said}" for said in (*Verdict, ONLY_A, ONLY_B) if (found := self.of(said))]
        peers = len(self.of(Verdict.SLOWER)) - len(self.worse)
        return ", ".join(counts) + (f" ({peers} of the slower a peer's)" if peers else "")

    def warnings(self) -> list[str]:
        """What makes it another thing than a change of this project's."""
        found = [f"{key}: {self.a.machine[key]} in A, {self.b.machine[key]} in B: not the same machine"
                 for key in SAME_MACHINE if self.a.machine[key] != self.b.machine[key]]
        both = [pair for pair in self.pairs if pair.a and pair.b]
        floors = [pair.b["floor_ns"] / pair.a["floor_ns"] for pair in both
                  if not is_peer(pair.row) and min(pair.a["floor_ns"], pair.b["floor_ns"]) > 0]
        for what, ratios in (("the floor", floors), ("the peers", [p.ratio for p in both if is_peer(p.row)])):
            if ratios and not 1 / CHANGE <= (ratio := median(ratios)) <= CHANGE:
                found.append(f"{what}: {longer(ratio, 'in A')}, the median, with nothing of ours in it: the machine "
                             "had another speed")
        if few := self.of(Verdict.TOO_FEW):
            found.append(f"too few repetitions to tell a change from noise: {len(few)} of {len(self.pairs)} rows; "
                         "wanted --repeat 5 in both")
        return found


def compare(a: Saved, b: Saved) -> Comparison:
    """Raises UserError where they have nothing in common."""
    in_a, in_b = ({identity(row): row for row in file.rows} for file in (a, b))
    if not in_a.keys() & in_b.keys():
        raise UserError(f"{a.name} ({', '.join(a.benches)}) and {b.name} ({', '.join(b.benches)}): no row that both "
                        "have; wanted two runs of the same benchmark")
    pairs = [Pair(in_a.get(key), in_b.get(key)) for key in {**in_a, **in_b}]
    requests: dict[tuple, list[Pair]] = {}
    for pair in pairs:      # rows of B alone stand beside their like
        requests.setdefault((pair.row["bench"], label(pair.row)), []).append(pair)
    return Comparison(a, b, [pair for found in requests.values() for pair in found])


def main(a: Path, b: Path, html: Path | None = None) -> int:
    """Print what changed; 1 if a row of ours is slower, beyond noise."""
    found = compare(saved.read(a), saved.read(b))
    out = console()
    out.print(rich_table(rows_grid(found), STYLES))
    if (counts := counts_grid(found)).body:
        out.print(rich_table(counts))
    out.print(rich_table(machines_grid(found)))
    for line in found.warnings():
        out.print(f"warning: {line}", style="yellow", highlight=False)
    out.print(found.summary(), highlight=False)
    for pair in found.worse:
        out.print(f"slower: {label(pair.row)}, {pair.row['mode']}: {longer(pair.ratio, 'in A')}", style="bold red",
                  highlight=False)
    if html:
        from . import compare_page
        compare_page.write(found, html)
    return 1 if found.worse else 0


def rows_grid(found: Comparison) -> Grid:
    return Grid(f"A: {found.a.name}, B: {found.b.name}; µs, medians",
                ("request", "mode", "verdict", "A", "A min to max", "B", "B min to max", "B/A"),
                [(label(p.row), p.row["mode"], p.verdict, *_time(p.a), *_time(p.b),
                  f"{p.ratio:.3f}" if p.ratio else "-") for p in found.pairs], words=3)


def _time(row: dict | None) -> tuple[str, str]:
    if not row:
        return "-", "-"
    return f"{row['ns_per_request'] / 1e3:,.2f}", f"{row['ns_min'] / 1e3:,.2f} to {row['ns_max'] / 1e3:,.2f}"


def counts_grid(found: Comparison) -> Grid:
    return Grid("counts that changed, for one request", ("request", "mode", "count", "A", "B"),
                [(label(pair.row), pair.row["mode"], name, f"{a:.3f}", f"{b:.3f}")
                 for pair in found.pairs for name, a, b in pair.counts()], words=3)


def machines_grid(found: Comparison) -> Grid:
    """Both descriptions, and whether they say the same."""
    a, b = found.a.machine, found.b.machine
    known = ("kernel", "cpu", "cpus", "tsc_khz", "memcpy_bytes_per_s", "foreign_exit_added_ns")
    lines = [(key, *(str(machine.get(key, "-")) for machine in (a, b))) for key in known if key in a or key in b]
    return Grid("machines", ("", "A", "B"), [*lines, ("date", found.a.date or "-", found.b.date or "-")], words=3)
