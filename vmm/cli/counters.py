"""`--stats`: what is counted, as a table or as JSON, and where it goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError
from . import options as parse

HELP = ("when the guest has ended, print what each half of each device did.  FORMAT is table, on standard error "
        "(the default), or json, on standard output, which the guest may not have then (see --serial); or in FILE.  It "
        "has to be attached by `=`: --stats=json,file=FILE.  JSON is an object on a line of its own for each time that "
        "the guest was started.  A device's counters with user_ before their names are Python's, the others its "
        "handler's: of those handled, assisted were done by its native build, polled found by looks of io_uring's "
        "thread; a vCPU's exits are accesses left to Python, taken are those that the native exit path took, assisted "
        "writes that it did after the kernel half had declined them, serial exits that the serial port answered, in C "
        "as well; the serial port's calls are its accesses in Python")


@contextmanager
def opened(text: str | None, config) -> Iterator[Callable | None]:
    """What tells the counters of a machine, as `text`, the option's value, has it; None without one.
    Raises UserError."""
    if text is None:
        yield None
        return
    given = parse.pairs(text, "--stats", ("format", "file"), "format")
    json = parse.choice(given.get("format", "table"), "--stats", ("table", "json")) == "json"
    path = Path(given["file"]) if "file" in given else None
    if json and not path and _takes_output(config):
        raise UserError("--stats=json: the guest has standard output; wanted --stats=json,file=FILE, or the guest's "
                        "output elsewhere")
    file = _open(path) if path else sys.stdout if json else sys.stderr
    try:
        yield lambda machine: _tell(machine, json, file, path)
    finally:
        if path:
            with suppress(OSError):     # it was told, as each line is written at once
                file.close()


def _takes_output(config) -> bool:
    """Whether the guest says anything on standard output."""
    return config.serial in ("stdout", "stdio") or any(console.where == "stdio" for console in config.consoles)


def _open(path: Path):
    try:
        return path.open("w")
    except OSError as error:
        raise UserError(f"--stats file {path}: {error.strerror}; wanted a file to write") from None


def _tell(machine, json: bool, file, path: Path | None) -> None:
    from ..machine import stats
    if file is None:        # standard error, which was closed from the start
        return
    try:
        if json:
            from json import dumps
            file.write(dumps(stats.all_counters(machine)) + "\n")
        else:
            stats.print_stats(machine, file)
        file.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path) if path else None) from None
