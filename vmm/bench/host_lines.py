"""Lines of `bench host`'s table: VMs beside idle ones, and an honest one beside hostile ones."""

from __future__ import annotations

from statistics import median

from . import tail
from .hostile import NOBODY
from .rows import host_op

WORDS = ("request", "mode", "beside")
HEAD = (*WORDS, "µs", "min", "max", "times", "ns more", *tail.HEADS, "CPU", "waited", "own MiB", "kernel's MiB")
NOTES = ("times, ns more: than beside the fewest VMs, or nobody; medians over the repetitions",
         "read beside idle VMs: medians of single reads; beside a hostile one, means",
         "waited: for a CPU, by the vCPU's thread, a read: what the scheduler gave to others",
         "own MiB, kernel's MiB: memory of one VM beside its RAM: its process's, and what the kernel has for it")


def lines(rows: list[dict]) -> list[tuple[str, ...]]:
    return [_line(row, _base(row, rows)) for row in rows]


def _line(row: dict, base: dict) -> tuple[str, ...]:
    pairs = list(zip(row.get("ns_each", ()), base.get("ns_each", ()))) if row is not base else []
    return (request(row), row["mode"], beside(row),
            *(_us(row[key]) for key in ("ns_per_request", "ns_min", "ns_max")),
            f"{median(ns / of for ns, of in pairs):.2f}" if pairs else "-",
            f"{median(ns - of for ns, of in pairs):,.0f}" if pairs else "-",
            *(_us(row.get(key)) for key in tail.PER_MILLE), _us(row["cpu_ns_per_request"]),
            "-" if row.get("waited_ns") is None else f"{row['waited_ns'] / 1e3:,.2f}",
            *(_mib(row.get(key)) for key in ("own_bytes", "kernel_bytes")))


def request(row: dict) -> str:
    return host_op(row) + (f", {row['placed']}" if row.get("placed") else "")


def beside(row: dict) -> str:
    """Who else there is; of no VM of ours, all that are."""
    if row.get("beside"):
        return row["beside"]
    others = row.get("vms", 0) - (row["op"] != "foreign")
    return f"{others} idle" if others > 0 else NOBODY


def _base(row: dict, rows: list[dict]) -> dict:
    """Of the rows of the same, the one beside the fewest."""
    same = [other for other in rows if request(other) == request(row)]
    return min(same, key=lambda other: (other.get("beside", NOBODY) != NOBODY, other.get("vms", 0)))


def _us(ns: float | None) -> str:
    return f"{ns / 1e3:,.2f}" if ns else "-"


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f}"
