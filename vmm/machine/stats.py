"""The counters that both halves keep in shared state, as tables and as plain data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..device.register_device import RegisterDevice
from ..devmodel.view import TornRead, address_of
from ..sync.shadow import Shadow, copies_of
from ..timeline import span
from ..virtio.virtio_device import VirtioDevice
from . import executing

TABLE_ROWS = 16


def counters(device: RegisterDevice) -> list[dict]:
    """Those of each queue, or of a device without queues: each half's as of one moment."""
    queues = device.queue_count
    shadow = Shadow(device.name, queues, device.layout.state.field("queue").offset if queues else 0)
    copies = copies_of(address_of(device.state), shadow.size)
    try:
        data = shadow.read(copies)
    except TornRead:        # a handler that never came to its end; say what was seen
        data = copies()[1]
    return [shadow.counters(data, number) for number in (range(1, queues + 1) if queues else (0,))]


def device_totals(device: VirtioDevice) -> dict:
    """The sum over a device's queues; `declined` by reason's name, of those that there were."""
    total = _totals(device)
    return {**total, "declined": {name: count for name, count in total["declined"].items() if count}}


def _totals(device: VirtioDevice) -> dict:
    total: dict = {}
    for queue in counters(device):
        for name, value in queue.items():
            if name == "declined":
                before = total.setdefault(name, [0] * len(value))
                total[name] = [a + b for a, b in zip(before, value)]
            elif name == "longest_ns":
                total[name] = max(total.get(name, 0), value)
            else:
                total[name] = total.get(name, 0) + value
    return _named(total, device)


def _named(counters: dict, device: RegisterDevice) -> dict:
    """The same with `declined` by reason's name."""
    return {**counters, "declined": {reason.name.lower(): counters["declined"][reason]
                                     for reason in device.layout.reasons}}


def all_counters(machine) -> dict:
    """Every counter of a machine whose guest has ended, as JSON can have it.  A vCPU's `runs` are returns of KVM_RUN,
    `taken` those with an access that the native exit path took, `assisted` writes that it did after the kernel half had
    declined them, `serial` exits with an access of the serial port's, answered in C as well, `exits` those with one
    that was left to Python."""
    return {
        "status": machine.status, "rebooted": machine.rebooted, "panicked": machine.panicked,
        "memory": {"bytes": machine.memory.size, "kind": machine.memory.kind,
                   "huge_bytes": machine.memory.huge_bytes()},
        "startup_ms": round(startup_ms(machine), 3),
        "started": [{"part": part, "begin_ns": begin, "end_ns": end} for part, begin, end in span.taken],
        "devices": [_device_counters(machine, device) for device in machine.devices],
        "vcpus": [{"vcpu": thread.vcpu.index, "exits": thread.exits, "taken": thread.vcpu.loop.hooked,
                   "assisted": thread.vcpu.loop.assisted, "serial": thread.vcpu.loop.serial_exits,
                   "runs": thread.vcpu.loop.runs, "cpu_ns": thread.cpu_ns} for thread in machine.threads],
        "serial": {"sent": machine.serial.sent, "calls": machine.serial.calls},
        "emulated": executing.counters(machine)}


def _device_counters(machine, device: RegisterDevice) -> dict:
    """A device without queues has the counters of the device as a whole."""
    found = {"device": device.name, "offload": device.mode, "choice": machine.choices[device.name]}
    if not isinstance(device, VirtioDevice):
        return found | {"total": _named(counters(device)[0], device)}
    queues = [{"queue": index, **_named(queue, device), "upcalls": device.upcalls[index]}
              for index, queue in enumerate(counters(device))]
    return found | {"total": _totals(device) | {"upcalls": sum(device.upcalls)}, "queues": queues}


def startup_ms(machine) -> float:
    """From the start of this process (to 10 ms, as /proc has it) to the guest's first instruction."""
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")      # field 22, starttime, since boot
    return 1e3 * (machine.first_run_s - started_s)


def print_stats(machine, file=None) -> None:
    """Tables, in a file or on standard error: the guest has standard output."""
    from rich.console import Console
    from rich.table import Table
    console = Console(file=file or sys.stderr, width=None if (file or sys.stderr).isatty() else 100, markup=False,
                      highlight=False)
    table = Table(title="requests", title_justify="left")
    for column in ("queue", "offload", "half", "doorbells", "served", "bytes", "ns each"):
        table.add_column(column, justify="left" if column in ("queue", "offload", "half") else "right")
    for device in machine.devices:
        for index, c in enumerate(counters(device)):
            name = f"{device.name}.{index}" if isinstance(device, VirtioDevice) else device.name
            table.add_row(name, device.mode, "kernel", *_figures(c, ""))
            if c["assisted"]:
                table.add_row("", "", "  of it native", "", str(c["assisted"]))
            if c["polled"]:
                table.add_row("", "", "  of it polled", "", str(c["polled"]))
            table.add_row("", "", "user", *_figures(c, "user_"))
            for reason in device.layout.reasons:
                if c["declined"][reason]:
                    table.add_row("", "", f"  {reason.name.lower()}", str(c["declined"][reason]))
    console.print(table)
    for name, why in machine.choices.items():
        console.print(f"{name}: offload {why}")
    for thread in machine.threads:
        console.print(f"vcpu{thread.vcpu.index}: {thread.exits} accesses left to Python, "
                      f"{thread.vcpu.loop.hooked} taken by the native exit path"
                      f"{_assisted(thread.vcpu.loop.assisted)}")
    memory = machine.memory
    console.print(f"memory: {memory.size >> 20} MiB, {memory.kind}, {memory.huge_bytes() >> 20} MiB in huge pages")
    _print_serial(machine, console)
    _print_emulated(machine, console)
    console.print(f"first instruction {startup_ms(machine):.0f} ms after the process began")


def _print_serial(machine, console) -> None:
    """What the guest sent, and what that took."""
    sent, calls = machine.serial.sent, machine.serial.calls
    exits = sum(thread.vcpu.loop.serial_exits for thread in machine.threads)
    each = f", {exits / sent:.2f} a byte" if sent else ""
    console.print(f"serial port: {sent} bytes sent, {exits} exits answered in C{each}, {calls} accesses in Python")


def _assisted(count: int) -> str:
    return f", {count} done by it that the kernel half had declined" if count else ""


def _print_emulated(machine, console) -> None:
    """What was run on beside KVM, and where."""
    from rich.table import Table
    for beside in machine.beside:
        if found := beside.counters()["instructions"]:
            console.print(f"vcpu{beside.vcpu.index}: {found} instructions that KVM refused were emulated")
    for partial in machine.partial:
        found = partial.counters()
        console.print(f"vcpu{partial.vcpu.index}: ran on in the emulator after {found['runs']} exits, for "
                      f"{found['blocks']} basic blocks; {found['spared']} exits spared")
        table = Table(title="where it exits", title_justify="left")
        for column in ("instruction", "exits", "ran on", "spared", "ticks a run", "ticks of KVM", "pays"):
            table.add_column(column, justify="right")
        for spot in partial.table()[:TABLE_ROWS]:
            table.add_row(f"{spot['rip']:#x}", str(spot["exits"]), str(spot["runs"]), str(spot["spared"]),
                          str(spot["ticks"] // spot["runs"]) if spot["runs"] else "-", str(spot["kvm_ticks"]),
                          ("yes" if spot["pays"] else "no") if spot["runs"] else "-")
        console.print(table)


def _figures(c: dict, half: str) -> list[str]:
    handled, busy_ns = c[f"{half}handled"], c[f"{half}busy_ns"]
    return [str(c[f"{half}doorbells"]), str(handled), str(c[f"{half}bytes"]),
            str(busy_ns // handled) if handled and busy_ns else "-"]
