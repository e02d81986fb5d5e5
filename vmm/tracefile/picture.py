"""A timeline: a row for each thread and each queue, what was inside of it and when; drawn as SVG, or by Pillow.

Events that fall on one point of the picture are one there, so that it is no larger for a longer recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ..bench.chart import significant, unit
from ..bench.page import element
from ..bench.style import LIGHT
from ..devmodel.exit_path import Half
from ..devmodel.recording import EventKind
from ..errors import UserError
from .reader import Gap, Happened

WIDTH, LEFT, ROW, BAR, TOP, FOOT = 1200, 150, 26, 12, 34, 26      # points
HALVES = {Half.KERNEL: "on", Half.NATIVE: "host", Half.PYTHON: "off"}
LEGEND = (("kernel", "on"), ("native", "host"), ("Python", "off"), ("in flight", "floor"), ("declined", "bad"))
COLOURS = {"gap": LIGHT["unsure-paper"], **LIGHT}


@dataclass(frozen=True)
class Shape:
    """A rectangle, or a text whose left lower corner is at (x, y)."""

    x: float
    y: float
    width: float = 0
    height: float = 0
    colour: str = "ink"
    text: str = ""


class Timeline:
    """What is to be drawn, from the events."""

    def __init__(self, events: Iterable[Happened | Gap]):
        self._spans: dict[str, list[tuple[int, int, str]]] = defaultdict(list)      # row: (from, to, colour)
        self._flying: dict[tuple, int] = {}
        self._first, self._last = 1 << 64, 0
        for event in events:
            self._first = min(self._first, event.time_ns - getattr(event, "took_ns", 0))
            self._last = max(self._last, event.time_ns)
            if isinstance(event, Gap):
                self._spans[""].append((event.time_ns, event.time_ns, "gap"))
            else:
                self._take(event)
        if not self._last:
            raise UserError("--picture: no events; wanted some to draw")
        for (row, _), since in self._flying.items():
            self._spans[row].append((since, self._last, "floor"))

    def _take(self, event: Happened) -> None:
        row = event.device.name + ("" if event.queue is None else f".{event.queue}")
        if event.kind in (EventKind.VISIT, EventKind.COLLECT):
            span = event.time_ns - event.took_ns, event.time_ns, HALVES[event.half]
            self._spans[event.thread].append(span)
            self._spans[row].append(span)
        elif event.kind is EventKind.DECLINE:
            self._spans[row].append((event.time_ns, event.time_ns, "bad"))
        elif event.kind is EventKind.SUBMIT:
            self._flying[row, event.value] = event.time_ns
        elif event.kind is EventKind.COMPLETE and (row, event.value) in self._flying:
            self._spans[row].append((self._flying.pop((row, event.value)), event.time_ns, "floor"))

    def _x(self, ns: int) -> float:
        return LEFT + (ns - self._first) / max(1, self._last - self._first) * (WIDTH - LEFT - 10)

    def shapes(self) -> tuple[list[Shape], int]:
        """All of it, and how high the picture is."""
        rows = sorted((row for row in self._spans if row), key=lambda row: (not row.startswith("vcpu"), row))
        height = TOP + ROW * len(rows) + FOOT
        found = list(self._legend())
        for x, _ in self._merged(self._spans.get("", []), "gap"):
            found.append(Shape(x, TOP, 2, ROW * len(rows), "gap"))
        for number, row in enumerate(rows):
            y = TOP + ROW * number
            found.append(Shape(8, y + BAR + 3, text=row[:20]))
            found.append(Shape(LEFT, y + ROW - 3, WIDTH - LEFT - 10, 1, "line"))
            for colour, at, thick in (("floor", BAR + 3, 4), ("off", 2, BAR), ("host", 2, BAR), ("on", 2, BAR),
                                      ("bad", 2, BAR)):
                found += [Shape(x, y + at, to - x, thick, colour)
                          for x, to in self._merged(self._spans[row], colour)]
        return [*found, *self._scale(height)], height

    def _merged(self, spans: list[tuple[int, int, str]], colour: str) -> Iterator[tuple[float, float]]:
        """(from, to) in points, of one colour: those that touch are one."""
        begun: float | None = None
        end = 0.0
        for since, until, kind in sorted(spans):
            if kind != colour:
                continue
            x, to = self._x(since), max(self._x(until), self._x(since) + 1)
            if begun is not None and x > end + 0.5:
                yield begun, end
                begun = None
            begun, end = (x, to) if begun is None else (begun, max(end, to))
        if begun is not None:
            yield begun, end

    @staticmethod
    def _legend() -> Iterator[Shape]:
        x = LEFT
        for text, colour in LEGEND:
            yield Shape(x, 10, BAR, BAR, colour)
            yield Shape(x + BAR + 6, 20, text=text)
            x += 120

    def _scale(self, height: int) -> Iterator[Shape]:
        size, name = unit(self._last)
        for part in range(6):
            ns = self._first + (self._last - self._first) * part // 5
            text = f"{significant(ns / size, 5)} {name}"
            yield Shape(min(self._x(ns), WIDTH - 8 * len(text)), height - 8, colour="faint", text=text)


def draw(events: Iterable[Happened | Gap], path: Path) -> None:
    """By the path's ending.  Raises UserError, or OSError of what cannot be written."""
    writers = {".svg": _svg, ".png": _png}
    if path.suffix not in writers:
        raise UserError(f"--picture {path}: wanted a name that ends in .svg or .png")
    shapes, height = Timeline(events).shapes()
    writers[path.suffix](shapes, height, path)


def _svg(shapes: list[Shape], height: int, path: Path) -> None:
    made = element("svg", element("rect", width=WIDTH, height=height, fill=LIGHT["paper"]),
                   xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", font_family="sans-serif",
                   font_size=12)
    for shape in shapes:
        made.append(element("text", shape.text, x=round(shape.x, 1), y=shape.y, fill=COLOURS[shape.colour])
                    if shape.text else
                    element("rect", x=round(shape.x, 1), y=shape.y, width=round(shape.width, 1), height=shape.height,
                            fill=COLOURS[shape.colour]))
    path.write_text(ElementTree.tostring(made, "unicode") + "\n", "utf-8")


def _png(shapes: list[Shape], height: int, path: Path) -> None:
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise UserError("--picture: no Pillow here, which makes PNG; wanted it installed, as by pip install pillow, or "
                        "a name that ends in .svg") from None
    image = Image.new("RGB", (WIDTH, height), LIGHT["paper"])
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        if shape.text:
            pen.text((shape.x, shape.y - 11), shape.text, fill=COLOURS[shape.colour])
        else:
            pen.rectangle((shape.x, shape.y, shape.x + max(0, shape.width - 1), shape.y + shape.height - 1),
                          fill=COLOURS[shape.colour])
    image.save(path)
