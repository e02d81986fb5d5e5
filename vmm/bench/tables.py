"""Rows of the benchmarks, as tables: of the terminal, and as text for whoever draws them otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from . import host_lines, tail
from .rows import DECLINED, declined_share, label
from .vcpus import crowded

WANTED_US = 100     # that one visit may take
WIDTH = 196         # at least: what is cut off helps nobody
_FIGURES = ("µs", "min", "max", "floor", "above floor", "CPU", "of it ring", "to user", "handled", "declined")
_RANGE = 3          # of these are a row's median and range, and percentiles are said behind them
_DRIVER_FIGURES = ("doorbells", "interrupts")       # of a driver of queues
_VCPU_FIGURES = ("1000/s", "of each vCPU", "CPUs")
_SHADOW_FIGURES = ("µs", "min", "max", "one copy", "CPU", "bytes", "reads", "looked again")
_DANCE_FIGURES = ("µs", "min", "max", "as fast", "accesses", "to user", "spared", "CPU")
_START_FIGURES = ("ms", "min", "max", "CPU", "MiB beside RAM")
_LINUX_FIGURES = ("µs", "min", "max", "p99", "CPU", "exits", "to user", "on is")


@dataclass(frozen=True)
class Grid:
    """A table of text; behind the first `words` columns come figures."""

    title: str
    head: tuple[str, ...]
    body: list[tuple[str, ...]]
    words: int = 2


def show(what: str, machine: dict, rows: list[dict], visits: list[dict] = ()) -> None:
    """Print them; `visits` are the rows of a table of their own."""
    out = console()
    out.print(rich_table(requests(what, machine, rows)))
    for line in beneath(machine, rows):
        out.print(line, highlight=False)
    if visits:
        out.print(rich_table(visit_grid(visits)))
    out.print(beside(machine), highlight=False)


def console():
    """Standard output; nothing in a row is markup."""
    from rich.console import Console
    found = Console()
    # a height, or rich takes a dumb one for narrow
    return Console(width=max(WIDTH, found.width), height=found.height, markup=False, emoji=False)


def rich_table(grid: Grid, styles: dict[str, str] | None = None):
    """For the terminal; what a line has in common with the one before it is not said again.  A cell of
    words that `styles` has is printed so."""
    from rich.table import Table
    from rich.text import Text
    styles = styles or {}
    table = Table(title=grid.title, title_justify="left")
    for number, name in enumerate(grid.head):
        table.add_column(name, justify="left" if number < grid.words else "right", no_wrap=name == "mode")
    before = ""
    for line in grid.body:
        first = line[0] if line[0] != before else ""
        table.add_row(first, *(Text(cell, styles.get(cell, "")) for cell in line[1:]))
        before = line[0]
    return table


def requests(what: str, machine: dict, rows: list[dict]) -> Grid:
    """All rows of a benchmark."""
    title = f"{what}: Linux {machine['kernel']}, {machine['cpus']} CPUs; µs, medians"
    if what == "linux":
        best = {label(row): row["ns_each"] for row in rows if row["mode"] == "on"}
        return Grid(title, ("request", "mode", *_LINUX_FIGURES),
                    [_linux_line(row, best.get(label(row), [])) for row in rows])
    if what == "shadow":
        return Grid(title, ("read", "mode", *_SHADOW_FIGURES), [_shadow_line(row) for row in rows])
    if what == "host":
        return Grid(title, host_lines.HEAD, host_lines.lines(rows), words=len(host_lines.WORDS))
    if what == "start":
        return Grid(title.replace("µs", "ms"), ("to", "mode", *_START_FIGURES), [_start_line(row) for row in rows])
    if rows and "spared" in rows[0]:
        return Grid(title, ("dance", "executor", *_DANCE_FIGURES), [_dance_line(row, rows) for row in rows])
    if what == "exits":
        return Grid(title, ("op", "mode", *_FIGURES), [_line(row) for row in rows])
    if rows and rows[0].get("vcpus"):
        return Grid(title, ("request", "mode", *_VCPU_FIGURES, *_FIGURES), [_vcpu_line(row) for row in rows])
    return Grid(title, ("packet" if what == "net" else "request", "mode", *_FIGURES[:_RANGE], *tail.HEADS,
                        *_FIGURES[_RANGE:], *_DRIVER_FIGURES),
                [(*_line(row, tail.PER_MILLE), *(_driver_share(row, key) for key in _DRIVER_FIGURES)) for row in rows])


def _line(row: dict, percentiles: Iterable[str] = ()) -> tuple[str, ...]:
    return (label(row), row["mode"], *(f"{row[key] / 1e3:.2f}" for key in ("ns_per_request", "ns_min", "ns_max")),
        *(f"{row[key] / 1e3:.2f}" if row.get(key) else "-" for key in percentiles), f"{row['floor_ns'] / 1e3:.2f}",
        f"{(row['ns_per_request'] - row['floor_ns']) / 1e3:.2f}",
        f"{row['cpu_ns_per_request'] / 1e3:.2f}", f"{row['cpu_ring_ns'] / 1e3:.2f}",
        *(_share(row, key) for key in ("exits_to_user", "handled", "declined")))


def _vcpu_line(row: dict) -> tuple[str, ...]:
    """Thousands of requests a second, in sum and of each vCPU; and whether these had too few CPUs."""
    each = row.get("each_per_s", [])
    cpus = str(row.get("host_cpus", "-")) + (", too few" if crowded(row) else "")
    request, mode, *figures = _line(row)
    return (request, mode, f"{1e6 / row['ns_per_request']:,.1f}", " ".join(f"{rate / 1e3:.1f}" for rate in each), cpus,
            *figures)


def _dance_line(row: dict, rows: list[dict]) -> tuple[str, ...]:
    """`as fast` as KVM alone, repetition by repetition."""
    dance, executor = row["op"].split(", ")
    alone = next(each for each in rows if each["op"] == f"{dance}, kvm")
    ratios = [theirs / ours for theirs, ours in zip(alone["ns_each"], row["ns_each"])]
    return (dance, executor, *(f"{row[key] / 1e3:,.1f}" for key in ("ns_per_request", "ns_min", "ns_max")),
            f"{median(ratios):.2f}x", str(row["depth"]), *(f"{row[key] / row['requests']:.2f}" for key in (
                "exits_to_user", "spared")), f"{row['cpu_ns_per_request'] / 1e3:,.1f}")


def _shadow_line(row: dict) -> tuple[str, ...]:
    return (row["op"], row["mode"], *(f"{row[key] / 1e3:.2f}" for key in (
        "ns_per_request", "ns_min", "ns_max", "floor_ns", "cpu_ns_per_request")),
        *(str(row.get(key, "-")) for key in ("bytes", "requests", "retries")))


def _start_line(row: dict) -> tuple[str, ...]:
    memory = row.get("beside_ram_bytes")
    return (label(row), row["mode"], *(f"{row[key] / 1e6:.1f}" for key in (
        "ns_per_request", "ns_min", "ns_max", "cpu_ns_per_request")), f"{memory / 2**20:.1f}" if memory else "-")


def _start_parts(row: dict) -> str:
    parts = sorted(row["parts_ns"].items(), key=lambda item: -item[1])
    return f"{label(row)}, {row['mode']}: " + ", ".join(f"{name} {took / 1e6:.1f}" for name, took in parts)


def _share(row: dict, key: str) -> str:
    if row["mode"].startswith("qemu"):
        return "-"
    share = row[key] / max(1, row["requests"])
    return f"{round(share, 2):g}" if row["bench"] == "exits" else f"{100 * share:.1f}%"


def _driver_share(row: dict, key: str) -> str:
    """Of a hundred requests; a peer's are known as well where the guest counts."""
    return "-" if row.get(key) is None else f"{100 * row[key] / max(1, row['requests']):.1f}%"


def _linux_line(row: dict, best: list[float]) -> tuple[str, ...]:
    """`on is` compares repetition by repetition: how many times faster than this mode."""
    ratios = [ours / theirs for ours, theirs in zip(row["ns_each"], best)]
    return (label(row), row["mode"], *(f"{row[key] / 1e3:,.0f}" if row[key] is not None else "-" for key in (
        "ns_per_request", "ns_min", "ns_max", "p99_ns", "cpu_ns_per_request")),
        *(f"{row[key] / max(1, row['requests']):.2f}" for key in ("exits", "exits_to_user")),
        f"{median(ratios):.2f}x" if ratios and row["mode"] != "on" else "")


def beneath(machine: dict, rows: list[dict]) -> list[str]:
    """What is to be said of a benchmark's rows: why some lose whose doorbells were declined, and which are left out."""
    left_out = machine.get("left_out", []) if any(row["bench"] == "exits" for row in rows) else []
    parts = [_start_parts(row) for row in rows if row.get("parts_ns")]
    imports = [f"{name} {took / 1e3:.1f}" for name, took in machine.get("imports_us", ()) if parts]
    notes = list(host_lines.NOTES) if any(row["bench"] == "host" for row in rows) else []
    tails = [tail.NOTE] if any(row["bench"] in ("blk", "net", "host") and row.get("p50_ns") for row in rows) else []
    reasons = [f"{label(row)}, {row['mode']}: {why(row)}" for row in rows if row["bench"] == "blk" and why(row)]
    turns = list(dict.fromkeys(said for row in rows if (said := crowded(row))))
    return notes + tails + turns + reasons + left_out + parts + (["imports: " + ", ".join(imports)] if imports else [])


def why(row: dict) -> str:
    """Why doorbells were declined, where enough of them were."""
    share = declined_share(row)
    return f"{100 * share:.0f} % declined: {row['why']}" if share > DECLINED and row.get("why") else ""


def visit_grid(rows: list[dict]) -> Grid:
    return Grid(f"µs that one visit of the kernel half took, at most; wanted: {WANTED_US}",
                ("one doorbell for", "longest", "median of the longest", "served by the kernel", "by userspace"),
                [(row["op"], f"{row['longest_ns'] / 1e3:.1f}", f"{row['longest_median_ns'] / 1e3:.1f}",
                  str(row["handled"]), str(row["user_handled"])) for row in rows], words=1)


def beside(machine: dict) -> str:
    """What was measured of the machine beside its rows."""
    return f"memcpy {machine['memcpy_bytes_per_s'] / 1e9:.1f} GB/s" + (
        f"; an exit of a VM that is not ours pays {machine['foreign_exit_added_ns']:.0f} ns for our being attached"
        if "foreign_exit_added_ns" in machine else "")
