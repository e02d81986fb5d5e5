"""One group of rows as horizontal bars, in SVG.

Drawn by hand: bars, whiskers and a line are all there is, and no plotting library's would follow the reader's
colour scheme and say in words what it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from .page import Element, element

WIDTH, TOP, PITCH, BAR, NOTE, BOTTOM = 600, 20, 26, 15, 16, 20
LETTER = 7.2        # how wide one is, about
NAME = 30           # letters of a name that are shown
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


@dataclass(frozen=True)
class Bar:
    """Times are in ns; `kind` is its colour, and of each note: what it says, and how."""

    name: str
    kind: str
    value: float
    low: float
    high: float
    floor: float = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    lost: bool = False
    tail: dict[str, float] = field(default_factory=dict)        # percentiles, by their names

    @property
    def height(self) -> int:
        return PITCH + NOTE * len(self.notes)


class Scale:
    """From 0 to the most that there is, over the width that names and figures leave."""

    def __init__(self, bars: list[Bar]):
        self.unit = unit(median(bar.value for bar in bars))
        self.most = max(max(bar.high, bar.floor) for bar in bars)
        self.left = 18 + LETTER * max(len(_name(bar)) for bar in bars)
        self._width = WIDTH - self.left - LETTER * max(len(self.say(bar.value)) for bar in bars) - 20

    def __call__(self, ns: float) -> float:
        return round(self.left + ns / self.most * self._width, 2)

    def say(self, ns: float) -> str:
        return f"{significant(ns / self.unit[0])} {self.unit[1]}"

    def ticks(self) -> list[float]:
        """0 and round figures, five at most."""
        step = 10 ** math.floor(math.log10(self.most / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if self.most / (step * factor) <= 5)
        return [step * n for n in range(math.floor(self.most / step * (1 + 1e-9)) + 1)]


def unit(ns: float) -> tuple[float, str]:
    """The largest that it is one of, at least."""
    return next((found for found in UNITS if ns >= found[0]), UNITS[-1])


def time(ns: float) -> str:
    size, name = unit(ns)
    return f"{significant(ns / size)} {name}"


def significant(value: float, digits: int = 3) -> str:
    """As many digits that say something, and no exponent."""
    if not value:
        return "0"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def svg(ident: str, title: str, bars: list[Bar]) -> Element:
    """A chart; what it shows is also said in its description."""
    scale = Scale(bars)
    floors = [bar.floor for bar in bars if bar.floor > 0]
    top = TOP if floors else TOP // 3
    foot = top + sum(bar.height for bar in bars)
    described = "; ".join(_words(bar, scale) for bar in bars)
    made = element("svg", element("title", title, id=f"{ident}-title"), element("desc", described, id=f"{ident}-desc"),
                   viewBox=f"0 0 {WIDTH} {foot + BOTTOM}", role="img", aria_labelledby=f"{ident}-title {ident}-desc")
    for tick in scale.ticks():
        made.append(_line(scale(tick), top, scale(tick), foot, "grid" if tick else "axis"))
        made.append(element("text", f"{tick / scale.unit[0]:,.6g}" if tick else f"0 {scale.unit[1]}",
                            x=scale(tick), y=foot + 14, text_anchor="middle", class_="scale"))
    y = top
    for bar in bars:
        made.append(_row(bar, scale, y))
        y += bar.height
    if floors:
        made.append(_floor_label(min(floors), max(floors), scale))
    return made


def _name(bar: Bar) -> str:
    return bar.name if len(bar.name) <= NAME else bar.name[:NAME - 1] + "…"


def _words(bar: Bar, scale: Scale) -> str:
    said = f"{bar.name}: {scale.say(bar.value)}, {scale.say(bar.low)} to {scale.say(bar.high)}"
    tail = [f"{name} {scale.say(ns)}" for name, ns in bar.tail.items()]
    return ", ".join([said, *tail, *(text for text, _ in bar.notes)])


def _row(bar: Bar, scale: Scale, y: float) -> Element:
    middle, start = y + PITCH / 2, scale(0)
    row = element("g", element("title", _words(bar, scale)),
                  element("text", _name(bar), x=start - 8, y=middle + 4, text_anchor="end"),
                  element("rect", x=start, y=middle - BAR / 2, width=round(scale(bar.value) - start, 2), height=BAR,
                          rx=2, class_=bar.kind + (" lost" if bar.lost else ""), data_ns=bar.value))
    if bar.low < bar.high:
        row.extend(_whisker(scale(bar.low), scale(bar.high), middle))
    if bar.floor > 0:
        row.append(_line(scale(bar.floor), y, scale(bar.floor), y + PITCH, "floor"))
    row.append(element("text", scale.say(bar.value), x=scale(max(bar.high, bar.value)) + 7, y=middle + 4))
    for number, (text, kind) in enumerate(bar.notes):
        row.append(element("text", text, x=start + 6, y=y + PITCH + NOTE * number + 10, class_=kind))
    return row


def _whisker(low: float, high: float, y: float) -> list[Element]:
    """Twice, as it has to be seen on a bar as well as beside it."""
    path = f"M{low} {y - 4}V{y + 4}M{low} {y}H{high}M{high} {y - 4}V{y + 4}"
    return [element("path", d=path, class_=kind) for kind in ("under", "spread")]


def _floor_label(least: float, most: float, scale: Scale) -> Element:
    """Over the line, of which each bar has its own."""
    low, high = (significant(ns / scale.unit[0], 2) for ns in (least, most))
    text = f"floor {low if low == high else f'{low} to {high}'} {scale.unit[1]}"
    x = scale(most)
    fits = x + len(text) * LETTER < WIDTH
    return element("text", text, x=max(2, x - 3) if fits else WIDTH, y=TOP - 6, text_anchor="start" if fits else "end",
                   class_="floor-label")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)
