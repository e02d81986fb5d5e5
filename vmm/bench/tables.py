"""Rows of the benchmarks, as tables."""

from __future__ import annotations

from statistics import median

WANTED_US = 100     # that one visit may take
WIDTH = 132         # at least: what is cut off helps nobody


def show(what: str, machine: dict, rows: list[dict], visits: list[dict] = ()) -> None:
    """Print them; `visits` are the rows of a table of their own."""
    from rich.console import Console
    from rich.table import Table
    console = Console()
    console = Console(width=max(WIDTH, console.width), height=console.height)      # or rich takes a dumb one for narrow
    table = Table(title=f"{what}: Linux {machine['kernel']}, {machine['cpus']} CPUs; µs, medians",
                  title_justify="left")
    if what == "linux":
        _linux(table, rows)
    else:
        _requests(what, table, rows)
    console.print(table)
    for line in _whys(rows):
        console.print(line, highlight=False)
    if visits:
        console.print(_visits(visits))
    console.print(f"memcpy {machine['memcpy_bytes_per_s'] / 1e9:.1f} GB/s" + (
        f"; an exit of a VM that is not ours pays {machine['foreign_exit_added_ns']:.0f} ns for our being attached"
        if "foreign_exit_added_ns" in machine else ""), highlight=False)


def _requests(what: str, table, rows: list[dict]) -> None:
    names = ["op" if what == "exits" else "packet" if what == "net" else "request", "mode"]
    for name in names:
        table.add_column(name)
    for name in ("µs", "min", "max", "floor", "above floor", "CPU", "of it ring", "to user", "handled", "declined"):
        table.add_column(name, justify="right")
    before = None
    for row in rows:
        label = {"exits": lambda row: row["op"], "blk": _label, "net": _net_label}[what](row)
        table.add_row(label if label != before else "", row["mode"], *(f"{row[k] / 1e3:.2f}" for k in (
            "ns_per_request", "ns_min", "ns_max", "floor_ns")),
            f"{(row['ns_per_request'] - row['floor_ns']) / 1e3:.2f}",
            f"{row['cpu_ns_per_request'] / 1e3:.2f}", f"{row['cpu_ring_ns'] / 1e3:.2f}", *(_share(row, k) for k in (
                "exits_to_user", "handled", "declined")))
        before = label


def _whys(rows: list[dict]) -> list[str]:
    """Why rows lose whose doorbells were declined."""
    return [f"{_label(row)}, {row['mode']}: {100 * row['declined'] / row['requests']:.0f} % declined: {row['why']}"
            for row in rows if row["bench"] == "blk" and row["declined"] > 0.05 * row["requests"]]


def _visits(rows: list[dict]):
    from rich.table import Table
    table = Table(title=f"µs that one visit of the kernel half took, at most; wanted: {WANTED_US}", title_justify="left")
    for name in ("one doorbell for", "longest", "median of the longest", "served by the kernel", "by userspace"):
        table.add_column(name, justify="left" if name == "one doorbell for" else "right")
    for row in rows:
        table.add_row(row["op"], f"{row['longest_ns'] / 1e3:.1f}", f"{row['longest_median_ns'] / 1e3:.1f}",
                      str(row["handled"]), str(row["user_handled"]))
    return table


def _share(row: dict, key: str) -> str:
    if row["mode"].startswith("qemu"):
        return "-"
    return str(row[key]) if row["bench"] == "exits" else f"{100 * row[key] / row['requests']:.1f}%"


def _net_label(row: dict) -> str:
    return f"{row['op']} {row['bytes']} B" + (f" x{row['depth']}" if row["op"] == "transmit" else "")


def _label(row: dict) -> str:
    size = f"{row['bytes'] >> 10} KiB" if row["bytes"] >= 1024 else f"{row['bytes']} B"
    extra = "" if row["wait"] == "poll" else ", interrupt"
    extra += "" if row["ring"] == 0 else f", ring {row['ring']}"
    return f"{row['op']} {size} x{row['depth']} {row['pattern']}{extra}"


def _linux(table, rows: list[dict]) -> None:
    """`on is` compares repetition by repetition: how many times faster than this mode."""
    for name in ("request", "mode"):
        table.add_column(name)
    for name in ("µs", "min", "max", "p99", "CPU", "exits", "to user", "on is"):
        table.add_column(name, justify="right")
    best = {_linux_label(row): row["ns_each"] for row in rows if row["mode"] == "on"}
    before = None
    for row in rows:
        label = _linux_label(row)
        table.add_row(label if label != before else "", row["mode"],
                      *(f"{row[key] / 1e3:,.0f}" if row[key] is not None else "-"
                        for key in ("ns_per_request", "ns_min", "ns_max", "p99_ns", "cpu_ns_per_request")),
                      *(f"{row[key] / row['requests']:.2f}" for key in ("exits", "exits_to_user")),
                      _faster(row, best.get(label, [])))
        before = label


def _faster(row: dict, best: list[float]) -> str:
    ratios = [ours / theirs for ours, theirs in zip(row["ns_each"], best)]
    return f"{median(ratios):.2f}x" if ratios and row["mode"] != "on" else ""


def _linux_label(row: dict) -> str:
    if row["cache"]:
        return f"{row['op']} 4 KiB x{row['depth']}, {'O_DIRECT' if row['cache'] == 'none' else 'cached'}"
    return {"boot": "boot to userspace", "ping": "ping"}.get(row["op"]) or f"{row['op']} {row['bytes']} B"
