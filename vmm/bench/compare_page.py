"""What changed from one run to another, as a page: what is slower first, then every row."""

from __future__ import annotations

import math
from pathlib import Path

from . import compare, page
from .compare import ONLY_A, ONLY_B, Comparison, Pair
from .noise import CHANGE, Verdict
from .page import Element, element
from .rows import is_peer, label, longer

CHIPS = {Verdict.FASTER: "good", Verdict.SLOWER: "bad", Verdict.NOISE: "plain", Verdict.TOO_FEW: "unsure",
         ONLY_A: "plain", ONLY_B: "plain"}
COLOURS = {Verdict.FASTER: "faster", Verdict.SLOWER: "slower", Verdict.NOISE: "same", Verdict.TOO_FEW: "few"}
WIDTH, HEIGHT = 208, 19
LEAST = 1.25        # what the width stands for, at least


def write(found: Comparison, path: Path) -> None:
    parts = [element("p", f"A is {found.a.name}, B is {found.b.name}. {found.summary()}.")]
    if lines := found.warnings():
        parts.append(element("div", element("h2", "With care"), *(element("p", line) for line in lines),
                             class_="box unsure"))
    parts += [_box(found), page.section("Every row", _rows(found))]
    if (counts := compare.counts_grid(found)).body:
        parts.append(page.section("Counts that changed", page.table(counts)))
    parts.append(page.section("Machines", page.table(compare.machines_grid(found), caption=False)))
    page.write(path, f"splitvmm bench compare: {', '.join(found.b.benches)}", *parts)


def _box(found: Comparison) -> Element:
    """What is slower, peers' rows included, and what is faster."""
    slower, faster = (sorted(found.of(verdict), key=lambda pair: -abs(math.log(pair.ratio)))
                      for verdict in (Verdict.SLOWER, Verdict.FASTER))
    kind, title = ("bad", "Slower in B") if found.worse else ("good", "Nothing of ours is slower, beyond noise")
    if not found.worse and found.of(Verdict.TOO_FEW):
        kind, title = "unsure", "Nothing of ours is slower that could be told from noise"
    box = element("div", element("h2", title), class_=f"box {kind}", id="changed")
    if slower:
        box.append(element("ul", *map(_item, slower)))
    if faster:
        box.extend((element("h2", "Faster in B", class_="good"), element("ul", *map(_item, faster))))
    return box


def _item(pair: Pair) -> Element:
    peer = " (a peer's)" if is_peer(pair.row) else ""
    return element("li", f"{label(pair.row)}, {pair.row['mode']}{peer}: ",
                   page.chip(CHIPS[pair.verdict], longer(pair.ratio, "in A")))


def _rows(found: Comparison) -> Element:
    """The table of the terminal, with a bar in each row."""
    grid = compare.rows_grid(found)
    made = page.table(grid, CHIPS)
    most = max([math.log(LEAST), *(abs(math.log(pair.ratio)) for pair in found.pairs if pair.ratio)])
    made.find("table/thead/tr").append(element("th", "← faster | slower →", scope="col", class_="change"))
    for pair, row in zip(found.pairs, made.findall("table/tbody/tr")):
        row.append(element("td", *([_change(pair, most)] if pair.ratio else [])))
    return made


def _change(pair: Pair, most: float) -> Element:
    """B's time by A's, its logarithm: to the right what takes longer, beside what 5 % are."""
    middle, unit = WIDTH / 2, (WIDTH / 2 - 2) / most
    x, band = (round(math.log(ratio) * unit, 2) for ratio in (pair.ratio, CHANGE))
    return element("svg", element("title", longer(pair.ratio, "in A")),
                   element("rect", x=middle - band, y=0, width=2 * band, height=HEIGHT, class_="band"),
                   element("rect", x=middle + min(0, x), y=3, width=abs(x), height=HEIGHT - 6,
                           class_=COLOURS[pair.verdict], data_ratio=pair.ratio),
                   element("line", x1=middle, y1=0, x2=middle, y2=HEIGHT, class_="axis"),
                   viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="change", role="img")
