"""A summary as tables and histograms."""

from __future__ import annotations

from array import array

from rich.bar import Bar
from rich.console import Console, Group
from rich.table import Table

from ..bench.chart import time
from .flights import Key
from .summary import Summary, histogram, percentiles

HALVES = ("kernel", "native", "python")
BAR = 40        # letters of the longest


def show(summary: Summary, console: Console) -> None:
    span = summary.last_ns - (summary.first_ns or 0)
    events = sum(counts.total() for counts in summary.counts.values())
    dropped = f", and {summary.dropped:,} dropped" if summary.dropped else ""
    console.print(f"{events:,} events in {time(span)}{dropped}")
    console.print(_counts(summary))
    if summary.declines:
        console.print(_declines(summary))
    console.print(_times(summary))
    for title, name in (("from the doorbell until done", "from_doorbell_ns"), ("in flight", "in_flight_ns")):
        for key, times in summary.times.items():
            if values := getattr(times, name):
                console.print(_histogram(f"{_name(key)}, {title}", values))


def _table(title: str, *columns: str, words: int = 1) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right")
    return table


def _name(key: Key) -> str:
    return key[0] if key[1] is None else f"{key[0]}.{key[1]}"


def _counts(summary: Summary) -> Table:
    table = _table("events", "device", "kind", *HALVES, words=2)
    for (device, kind), counts in sorted(summary.counts.items()):
        table.add_row(device, kind, *(f"{counts[half]:,}" if counts[half] else "" for half in HALVES))
    return table


def _declines(summary: Summary) -> Table:
    table = _table("declined", "device", "reason", "writes", words=2)
    for device, counts in summary.declines.items():
        for reason, count in counts.most_common():
            table.add_row(device, reason, f"{count:,}")
    return table


def _times(summary: Summary) -> Table:
    table = _table("where time went", "queue", "requests", "in the handler", "in Python", "in flight")
    for key, times in summary.times.items():
        table.add_row(_name(key), f"{times.requests:,}", *(
            time(ns) if ns else "-" for ns in (times.handler_ns, times.python_ns, times.flight_ns)))
    return table


def _histogram(title: str, values: array) -> Group:
    found = ", ".join(f"{'most' if p == 100 else f'{p:g}%'} {time(ns)}" for p, ns in percentiles(values).items())
    buckets = histogram(values)
    most = max(count for _, _, count in buckets)
    table = Table.grid(padding=(0, 1))
    for low, high, count in buckets:
        table.add_row(f"{time(low):>8} to {time(high):>8}", f"{count:,}", Bar(most, 0, count, width=BAR))
    table.columns[1].justify = "right"
    return Group(f"\n{title}: {len(values):,}; {found}", table)
