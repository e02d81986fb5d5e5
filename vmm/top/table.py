"""What `Watch.look` tells, as tables."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

WORDS = ("queue", "offload", "holder", "gen.", "half")
FIGURES = ("doorbells/s", "requests/s", "bytes/s", "ns each", "longest µs", "in flight", "requests")
NAME = 8        # characters of a queue's name, however narrow the terminal


def tables(told: dict[str, Any]) -> Group:
    """One for each VM; nothing in them is markup."""
    if not told["vms"]:
        return Group(Text("no VM of splitvmm that may be looked at"))
    return Group(*(_vm(vm) for vm in told["vms"]))


def _vm(vm: dict[str, Any]) -> Table | Text:
    if "not_readable" in vm:
        return Text(f"process {vm['pid']}: not readable: {vm['not_readable']}")
    table = Table(title=Text(_title(vm)), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in WORDS + FIGURES:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True,
                         min_width=NAME if name == "queue" else 0)
    for device in vm["devices"]:
        for name, counted in _counted(device):
            _add(table, name, device, counted)
    return table


def _title(vm: dict[str, Any]) -> str:
    rates = [vcpu["rates"] for vcpu in vm["vcpus"]]
    exits, taken = (_sum(rates, name) for name in ("exits", "taken"))
    return (f"process {vm['pid']}, {len(rates)} vCPU{'' if len(rates) == 1 else 's'}, executor {vm['executor']}; "
            f"a second: {_figure(exits)} accesses left to Python, {_figure(taken)} taken by the native exit path")


def _sum(rates: list[dict | None], name: str) -> float | None:
    known = [each[name] for each in rates if each]
    return sum(known) if known else None


def _counted(device: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What has counters, by name: each queue, or a device without queues."""
    if "queues" in device:
        return [(f"{device['device']}.{queue['queue']}", queue) for queue in device["queues"]]
    return [(device["device"], device["total"] | {name: device[name] for name in ("holder", "generation")})]


def _add(table: Table, name: str, device: dict[str, Any], counted: dict[str, Any]) -> None:
    """A line for each half, and one for each reason that doorbells were declined for since the last look."""
    rates = counted["rates"] or {}
    in_flight = counted.get("in_flight")
    offload = f"{device['offload']}, polled" if counted.get("polling") else device["offload"]
    table.add_row(Text(name), offload, counted["holder"], str(counted["generation"]), "kernel",
                  *_figures(rates, ""), f"{counted['longest_ns'] / 1e3:,.1f}",
                  "" if in_flight is None else str(in_flight), f"{counted['handled']:,}")
    table.add_row("", "", "", "", "user", *_figures(rates, "user_"), "", "", f"{counted['user_handled']:,}")
    for reason, rate in rates.get("declined", {}).items():
        if rate:
            table.add_row("", "", "", "", Text(f"  {reason}"), _figure(rate))


def _figures(rates: dict[str, Any], half: str) -> list[str]:
    moved = rates.get(f"{half}bytes")
    return [_figure(rates.get(f"{half}doorbells")), _figure(rates.get(f"{half}handled")),
            "-" if moved is None else decimal(int(moved)), _figure(rates.get(f"{half}each_ns"))]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
