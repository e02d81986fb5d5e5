"""HTML pages that need nothing but themselves: no scripts, nothing to load, light or dark as the reader has it.

Elements are built, never pasted together, so that no text of a file can become markup."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from .style import CSS
from .tables import Grid

Element = ElementTree.Element


def element(tag: str, *children, **attributes) -> Element:
    """Children are elements, or anything as text.  `class_` stands for class, and other underscores for hyphens;
    None is an attribute left out."""
    made = Element(tag, {key.rstrip("_").replace("_", "-"): _text(value) for key, value in attributes.items()
                         if value is not None})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _text(child)
        else:
            made.text = (made.text or "") + _text(child)
    return made


def _text(value) -> str:
    """As text of a page, where control characters and halves of pairs have no place."""
    return "".join(c if c.isprintable() or c in "\n\u00a0" else "\ufffd" for c in str(value))


def write(path: Path, title: str, *body: Element) -> None:
    head = element("head", element("meta", charset="utf-8"),
                   element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                   element("meta", name="color-scheme", content="light dark"),
                   element("title", title), element("style"))
    head[-1].text = CSS
    page = element("html", head, element("body", element("main", element("h1", title), *body)), lang="en")
    path.write_text("<!DOCTYPE html>\n" + ElementTree.tostring(page, "unicode", method="html") + "\n", "utf-8")


def section(title: str, *children: Element) -> Element:
    return element("section", element("h2", title), *children)


def facts(known: dict[str, str]) -> Element:
    """What something is, a word and its meaning at a time."""
    return element("dl", *(element("div", element("dt", key), element("dd", value)) for key, value in known.items()))


def chip(kind: str, text: str) -> Element:
    return element("span", text, class_=f"chip {kind}")


def table(grid: Grid, chips: dict[str, str] | None = None, caption: bool = True) -> Element:
    """A grid; what a line has in common with those before it is one cell.  Words that `chips` has get its kind."""
    head = element("tr", *(element("th", name, scope="col", class_="figure" if number >= grid.words else None)
                           for number, name in enumerate(grid.head)))
    body = element("tbody")
    for first, lines in groupby(grid.body, key=lambda line: line[0]):
        same = list(lines)
        for number, line in enumerate(same):
            row = element("tr", class_="first" if not number else None)
            if not number:
                row.append(element("th", first, scope="rowgroup" if len(same) > 1 else "row",
                                   rowspan=len(same) if len(same) > 1 else None))
            row.extend(_cell(cell, at >= grid.words, chips or {}) for at, cell in enumerate(line[1:], 1))
            body.append(row)
    parts = [element("caption", grid.title)] if caption else []
    # what is wider than a narrow screen is scrolled, also by keys
    return element("div", element("table", *parts, element("thead", head), body), class_="wide", tabindex="0",
                   role="region", aria_label=grid.title)


def _cell(text: str, figure: bool, chips: dict[str, str]) -> Element:
    if text in chips and not figure:
        return element("td", chip(chips[text], text))
    return element("td", text, class_="figure" if figure else None)
