"""The counters that both halves keep in shared state, as tables."""

from __future__ import annotations

from .devmodel.view import TornRead, read_together
from .virtio_mmio import VirtioMmioDevice


def queue_counters(queue) -> dict:
    """One queue's counters: the kernel half's as of one moment, and the user half's."""
    entry = queue.entry
    try:
        handled, moved, busy_ns = read_together(entry, "handled", "bytes", "busy_ns")
    except TornRead:        # a live writer; say the last that was seen
        handled, moved, busy_ns = entry.handled, entry.bytes, entry.busy_ns
    user = queue.user
    return {"doorbells": entry.doorbells, "handled": handled, "bytes": moved, "busy_ns": busy_ns,
            "declined": list(entry.declined), "user_doorbells": user.doorbells,
            "user_handled": user.handled, "user_bytes": user.bytes, "user_busy_ns": user.busy_ns}


def device_totals(device: VirtioMmioDevice) -> dict:
    """The sum over a device's queues; `declined` by reason's name."""
    total: dict = {}
    for state in device.state.queue[:len(device.queue_sizes)]:
        for name, value in queue_counters(state).items():
            if name == "declined":
                before = total.setdefault(name, [0] * len(value))
                total[name] = [a + b for a, b in zip(before, value)]
            else:
                total[name] = total.get(name, 0) + value
    total["declined"] = {reason.name.lower(): total["declined"][reason]
                         for reason in device.layout.reasons if total["declined"][reason]}
    return total


def print_stats(machine) -> None:
    """Tables on standard error: the guest has standard output."""
    from rich.console import Console
    from rich.table import Table
    console = Console(stderr=True)
    table = Table(title="queues", title_justify="left")
    for column in ("queue", "offload", "doorbells", "handled", "declined", "bytes", "ns/request",
                   "to user", "served there", "bytes", "ns/request"):
        table.add_column(column, justify="left" if column in ("queue", "offload", "declined") else "right")
    for device in machine.devices:
        if not isinstance(device, VirtioMmioDevice):
            continue
        for index in range(len(device.queue_sizes)):
            c = queue_counters(device.state.queue[index])
            declined = ", ".join(f"{r.name.lower()} {c['declined'][r]}" for r in device.layout.reasons
                                 if c["declined"][r]) or "-"
            table.add_row(f"{device.name}.{index}", device.mode, str(c["doorbells"]), str(c["handled"]),
                          declined, str(c["bytes"]), str(c["busy_ns"] // max(1, c["handled"])),
                          str(c["user_doorbells"]), str(c["user_handled"]), str(c["user_bytes"]),
                          str(c["user_busy_ns"] // max(1, c["user_handled"])))
    console.print(table)
    for name, why in machine.choices.items():
        console.print(f"{name}: offload {why}", highlight=False)
    for thread in machine.threads:
        console.print(f"vcpu{thread.vcpu.index}: {thread.exits} accesses left to Python, "
                      f"{thread.vcpu.loop.hooked} taken by the native exit path", highlight=False)
