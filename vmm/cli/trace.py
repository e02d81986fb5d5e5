"""`splitvmm trace`: what a recording has in it, as text, summed up, or drawn."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UserError
from . import options as parse
from . import standard


def add(commands) -> None:
    trace = commands.add_parser(
        "trace", help="show what devices did in a recording",
        description="Show what devices did in a recording that run --record has made: each event by the names that "
        "its schema has for registers, their values and reasons, or all of them summed up or drawn.",
        epilog="What is in a recording that was cut off is shown; then it is said where it ends, and the exit status "
        "is 64.")
    trace.set_defaults(func=show, parser=trace)
    trace.add_argument("file", metavar="FILE", type=Path, help="the recording")
    which = trace.add_argument_group("which events")
    which.add_argument("--device", metavar="NAME", action="append", default=[], help="of this device alone; may be "
                       "given more than once")
    which.add_argument("--queue", metavar="N", help="of this queue of a device alone")
    which.add_argument("--kind", metavar="LIST", help="of these kinds: write, read, visit, collect, decline, upcall, "
                       "submit, complete, interrupt, take, give")
    which.add_argument("--reason", metavar="LIST", help="with one of these reasons alone")
    which.add_argument("--from", dest="since", metavar="MS", default="0", help="from so many milliseconds after the "
                       "recording's start on")
    which.add_argument("--to", metavar="MS", help="and until so many")
    how = trace.add_argument_group("how")
    how.add_argument("--summary", action="store_true", help="counts, where time went, and how long requests took, from "
                     "the doorbell and in flight")
    how.add_argument("--json", action="store_true", help="as JSON: an object a line for each event, or one for the "
                     "summary")
    how.add_argument("--chrome", metavar="FILE", type=Path, help="write them to FILE in the trace event format, which "
                     "Perfetto and chrome://tracing open")
    how.add_argument("--picture", metavar="FILE", type=Path, help="draw a timeline to FILE, which ends in .svg or .png")


def show(options) -> int:
    from ..tracefile.reader import Reader
    wanted, faults = _filter(options), []
    if sum(map(bool, (options.summary, options.chrome, options.picture))) > 1:
        raise UserError("--summary, --chrome and --picture: wanted one of them")
    events = wanted.of(_up_to_fault(Reader(options.file), faults))
    if options.chrome:
        from ..tracefile import chrome
        with standard.written(options.chrome, "--chrome"), options.chrome.open("w") as file:
            chrome.write(events, file)
    elif options.picture:
        from ..tracefile import picture
        with standard.written(options.picture, "--picture"):
            picture.draw(events, options.picture)
    elif options.summary:
        _summary(events, options.json)
    else:
        _print(events, options.json)
    if faults:
        raise faults[0]
    return 0


def _up_to_fault(events: Iterable, faults: list[UserError]) -> Iterator:
    """Events before the first byte that is not as wanted, which is told once they were shown.  Raises it at once where
    there are none."""
    none = True
    try:
        for event in events:
            none = False
            yield event
    except UserError as error:
        if none:
            raise
        faults.append(error)


def _filter(options):
    from ..devmodel.recording import EventKind
    from ..tracefile.filters import Filter
    kinds = parse.words(options.kind, "--kind") if options.kind else []
    for kind in kinds:
        parse.choice(kind, "--kind", tuple(each.name.lower() for each in EventKind if each is not EventKind.VCPU))
    return Filter(tuple(options.device), parse.whole(options.queue, "--queue", 0, 254) if options.queue else None,
                  tuple(kinds), tuple(parse.words(options.reason, "--reason")) if options.reason else (),
                  _ns(options.since, "--from"), _ns(options.to, "--to") if options.to else None)


def _ns(text: str, option: str) -> int:
    """Milliseconds, also with a part of one."""
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found < 1e12:
        raise UserError(f"{option} {text!r}; wanted milliseconds since the recording's start")
    return round(found * 1e6)


def _print(events: Iterable, json: bool) -> None:
    from ..tracefile.lines import as_json, line
    say = as_json if json else line
    for event in events:
        sys.stdout.write(say(event) + "\n")


def _summary(events: Iterable, json: bool) -> None:
    from ..tracefile import summary
    found = summary.summed_up(events)
    if json:
        from json import dumps
        sys.stdout.write(dumps(summary.as_json(found), indent=1) + "\n")
        return
    from rich.console import Console

    from ..tracefile import tables
    tables.show(found, Console(width=None if os.isatty(1) else 100, markup=False, highlight=False))
