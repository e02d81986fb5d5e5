"""What was measured, as a page: where `on` loses first, then a chart a request, then the figures."""

from __future__ import annotations

from pathlib import Path

from . import chart, host_lines, page, tables, tail
from .losses import Loss, duels, losses
from .noise import Verdict
from .page import Element, element
from .rows import label, longer
from .saved import Saved
from .tables import Grid
from .vcpus import crowded

KINDS = {Verdict.SLOWER: "bad", Verdict.TOO_FEW: "unsure", Verdict.NOISE: "plain"}
HOW = {Verdict.SLOWER: "beyond noise", Verdict.TOO_FEW: "of too few repetitions to tell", Verdict.NOISE: "within noise"}
MODES = {"off": "off: Python alone", "host": "host: the handlers as C in the process",
         "on": "on: the handlers in the kernel"}
ALONE = ("exits", "shadow", "host")     # there is no peer that has such
# charts of `exits`; any other access is one write
EXITS = {"register-read-page": "one read", "register-read-exit": "one read", "user-5": "five writes",
         "coalesced-4-user-1": "five writes", "posted-4-user-1": "five writes", "posted-4-handled-1": "five writes"}


def write(saved: Saved, path: Path) -> None:
    """A page with all that a file of rows says."""
    page.write(path, f"splitvmm bench {', '.join(saved.benches)}", *body(saved))


def body(saved: Saved) -> list[Element]:
    lost = losses(saved.rows)
    return [_about(saved), *_boxes(saved.rows, lost), _legend(saved.rows), *_charts(saved.rows, lost), *_figures(saved)]


def _about(saved: Saved) -> Element:
    """When and on what it was measured."""
    machine, counts = saved.machine, {len(row["ns_each"]) for row in saved.rows if "ns_each" in row}
    repetitions = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "not kept"
    known = {"Measured": saved.date.replace("T", " ").replace("+00:00", " UTC") or "no date kept",
             "Kernel": f"Linux {machine['kernel']}", "CPU": machine["cpu"], "CPUs": machine["cpus"],
             "TSC": f"{machine['tsc_khz'] / 1e6:.2f} GHz" if "tsc_khz" in machine else None,
             "Repetitions": repetitions, "memcpy": tables.beside(machine).removeprefix("memcpy ")}
    return page.facts({key: value for key, value in known.items() if value is not None})


# where `on` loses

def _boxes(rows: list[dict], lost: list[Loss]) -> list[Element]:
    fought = duels(rows)
    if not fought:
        return [] if all(row["bench"] in ALONE for row in rows) else [element(
            "div", element("h2", "No peer beside on"), element("p", "Nothing was measured that on could lose to: "
                           "--peer has the same guest run elsewhere."), class_="box")]
    counts = {verdict: sum(loss.verdict == verdict for loss in lost) for verdict in KINDS}
    worst = next((kind for verdict, kind in KINDS.items() if counts[verdict]), "good")
    title = "Where on is slower than a peer" if lost else "on is nowhere slower than a peer"
    said = ", ".join(f"{counts[verdict]} {how}" for verdict, how in HOW.items() if counts[verdict])
    box = element("div", element("h2", title), element(
        "p", f"Of {len(fought)} rows of peers, on takes no longer than {len(fought) - len(lost)}"
        + (f", and longer than {len(lost)}: {said}." if lost else ".")), class_=f"box {worst}", id="lost")
    if lost:
        box.append(_lost_table(rows, lost))
    return [box]


def _lost_table(rows: list[dict], lost: list[Loss]) -> Element:
    grid = Grid("Rows where on takes longer than a peer, medians", ("request", "verdict", "on takes", "on", "the peer"),
                [(label(loss.on), loss.verdict, longer(loss.ratio, loss.peer["mode"]), *(
                    chart.time(row["ns_per_request"]) for row in (loss.on, loss.peer))) for loss in lost], words=3)
    made = page.table(grid, KINDS, caption=False)
    charts = {label(row): ident for ident, group in _groups(rows).values() for row in group}
    for cell in made.iterfind("table/tbody/tr/th"):
        cell.append(element("a", cell.text, href=f"#{charts[cell.text]}"))
        cell.text = None
    return made


# charts

def _legend(rows: list[dict]) -> Element:
    entries = [(MODES.get(mode, f"{mode}: a peer"), [element("rect", x=0, y=2, width=24, height=12, rx=2, class_=kind)])
               for mode, kind in _kinds(rows).items()]
    entries.append(("least to most", [element("line", x1=2, y1=8, x2=22, y2=8, class_="spread"), *(
        element("line", x1=x, y1=3, x2=x, y2=13, class_="spread") for x in (2, 22))]))
    if any(row["floor_ns"] > 0 for row in rows):
        floor = "one copy" if all(row["bench"] == "shadow" for row in rows) else "the exit alone"
        entries.append((f"the floor: {floor}", [element("line", x1=2, y1=8, x2=24, y2=8, class_="floor")]))
    return element("ul", *(element("li", element("svg", *shapes, viewBox="0 0 24 16", aria_hidden="true"), text)
                           for text, shapes in entries), class_="legend")


def _kinds(rows: list[dict]) -> dict[str, str]:
    """The colour of each mode; peers have one hue in two shades."""
    found: dict[str, str] = {}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found[mode] = mode if mode in MODES else "peer2" if "peer" in found.values() else "peer"
    return found


def _charts(rows: list[dict], lost: list[Loss]) -> list[Element]:
    """Of disks a section for reads and one for writes, else one a benchmark."""
    kinds, sections = _kinds(rows), {}
    for (section, name), (ident, group) in _groups(rows).items():
        sections.setdefault(section, []).append(_card(ident, name, group, kinds, lost))
    return [page.section(section, element("div", *cards, class_="cards")) for section, cards in sections.items()]


def _section(row: dict) -> str:
    if row["bench"] == "blk":
        return {"read": "Reads of a disk", "write": "Writes to a disk"}.get(row["op"], row["op"])
    return {"exits": "Exits", "net": "Network", "linux": "A Linux guest",
            "shadow": "Reads of shared state", "start": "A VM's start",
            "host": "VMs that share a host"}[row["bench"]]


def _groups(rows: list[dict]) -> dict[tuple[str, str], tuple[str, list[dict]]]:
    """Of each chart its mark and its rows, by its section and name."""
    found: dict[tuple[str, str], tuple[str, list[dict]]] = {}
    for row in rows:
        name = _name(row)
        found.setdefault((_section(row), name), (f"chart{len(found)}", []))[1].append(row)
    return found


def _name(row: dict) -> str:
    """Of the chart that a row is in."""
    if row["bench"] == "exits":
        return EXITS.get(row["op"], "one write")
    return host_lines.request(row) if row["bench"] == "host" else label(row)


def _card(ident: str, name: str, group: list[dict], kinds: dict[str, str], lost: list[Loss]) -> Element:
    bars = [_bar(row, kinds, [loss for loss in lost if loss.on is row]) for row in group]
    made = element("figure", element("h3", name), chart.svg(ident, name, bars), id=ident,
                   class_="bad" if any(bar.lost for bar in bars) else None)
    made.extend(element("figcaption", f"{row['mode']}: {why}") for row in group
                if row["bench"] != "exits" and (why := tables.why(row)))
    made.extend(element("figcaption", said) for said in dict.fromkeys(map(crowded, group)) if said)
    return made


def _bar(row: dict, kinds: dict[str, str], lost: list[Loss]) -> chart.Bar:
    name = row["op"] if row["bench"] == "exits" else host_lines.beside(row) if row["bench"] == "host" else row["mode"]
    return chart.Bar(name, kinds[row["mode"]], row["ns_per_request"], row["ns_min"], row["ns_max"], row["floor_ns"],
                     [(loss.said(), KINDS[loss.verdict]) for loss in lost],
                     any(loss.verdict == Verdict.SLOWER for loss in lost), tail.named(row))


# figures

def _figures(saved: Saved) -> list[Element]:
    found = [page.section(f"Figures of {bench}", page.table(tables.requests(bench, saved.machine, saved.of(bench))),
                          *(element("p", line) for line in tables.beneath(saved.machine, saved.of(bench))))
             for bench in saved.benches]
    if saved.visits:
        found.append(page.section("The longest visits", page.table(tables.visit_grid(saved.visits))))
    return found
