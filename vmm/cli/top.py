"""`splitvmm top`: what the devices of running VMs do."""

from __future__ import annotations

import sys
from time import sleep

from ..errors import UserError
from . import options as parse

LEAST_S, MOST_S = 0.01, 3600
WIDTH = 120     # where there is no terminal that has one


def add(commands) -> None:
    top = commands.add_parser(
        "top", help="watch the devices of running VMs",
        description="Watch the devices of running VMs, from beside them: what each half of each queue does in a "
        "second, why doorbells are declined, what is in flight, and who holds it.  It reads shared state that the VMs "
        "keep anyway; nothing is stopped, and no guest notices.",
        epilog="A VM that ends is left out from then on; where it was the only one asked for, that is the end.  SIGINT "
        "ends it with status 130.")
    top.set_defaults(func=watch, parser=top)
    top.add_argument("pid", metavar="PID", nargs="?", help="the process of a VM (default: all VMs that may be looked "
                     "at: one's own, or every one for root)")
    top.add_argument("--once", action="store_true", help="look twice, and print what came to pass between, as is done "
                     "as well where standard output is no terminal")
    top.add_argument("--json", action="store_true", help="the same as JSON, an object on one line: \"interval_s\", and "
                     "\"vms\", each with pid, and either executor, vcpus and devices or not_readable, which says why.  "
                     "Counters have the names of `run --stats=json`; their rates are per second, but for each_ns, "
                     "which is for a request")
    top.add_argument("--interval", metavar="S", default="1", help="seconds between two looks (default: 1)")
    top.add_argument("--device", metavar="NAME", help="only devices of this name")


def watch(options) -> int:
    from ..top.watch import Watch
    interval_s = _seconds(options.interval)
    pid = None if options.pid is None else parse.whole(options.pid, "PID", 1, (1 << 31) - 1)
    found = Watch(pid, options.device)
    found.look()
    if options.json:
        return _json(found, interval_s)
    return _tables(found, interval_s, options.once)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_S <= value <= MOST_S:
        raise UserError(f"--interval {text!r}; wanted seconds, {LEAST_S} to {MOST_S}")
    return value


def _json(found, interval_s: float) -> int:
    from json import dumps
    sleep(interval_s)
    sys.stdout.write(dumps(found.look()) + "\n")
    return 0


def _tables(found, interval_s: float, once: bool) -> int:
    from rich.console import Console
    from rich.live import Live

    from ..top.table import tables
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDTH, highlight=False, markup=False, emoji=False)
    if once or not terminal or console.is_dumb_terminal:
        sleep(interval_s)
        console.print(tables(found.look()))
        return 0
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not found.ended:
            sleep(interval_s)
            live.update(tables(found.look()), refresh=True)
    return 0
