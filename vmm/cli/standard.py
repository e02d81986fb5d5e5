"""Standard input, output and error of the command: closed, full or gone, each is one line at most."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError

INPUT, OUTPUT, ERROR = range(3)


def open_missing() -> None:
    """Have something at each standard descriptor that is closed, before anything else gets its number: input
    that has ended, output that fails, errors that nobody reads."""
    for fd, flags in ((INPUT, os.O_RDONLY), (OUTPUT, os.O_RDONLY), (ERROR, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, flags)     # the lowest number that is free
            assert opened == fd
    if sys.stdout is None:      # as Python found it closed
        sys.stdout = open(OUTPUT, "w", closefd=False)


def say(text: str) -> None:
    """A line on standard error, if it takes one."""
    tell(f"splitvmm: {text}\n")


def tell(text: str) -> None:
    """Text on standard error, if it takes it.  Not argparse's to write, nor print()'s: the one raises what is
    refused (in Python 3.11.2), the other would take standard output where there is no other."""
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()


def write(text: str, output: Path | None) -> None:
    """What a command is asked for, to standard output or to the file of --output.  Raises UserError."""
    if output is None:
        sys.stdout.write(text)
        return
    with written(output, "--output"):
        output.write_text(text)


@contextmanager
def written(path: Path, option: str) -> Iterator[None]:
    """What the system refuses of writing the file of an option is a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option} {path}: {error.strerror}; wanted a file to write") from None


def may_write(path: Path) -> bool:
    """Whether a file can be written there, as far as that is known beforehand."""
    return not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)


def failed(error: OSError) -> int:
    """Say what the system refused; the exit status for it.  A reader that went away needs no word."""
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    where = f"{error.filename}: " if error.filename else ""
    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = f"; wanted more than {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} (ulimit -n)"
    say(f"{where}{error.strerror or error}{hint}")
    return os.EX_IOERR


def flush() -> None:
    """All of standard output is written.  Raises OSError, and then never again."""
    _flush(sys.stdout, OUTPUT)


def drop_errors() -> None:
    """What standard error did not take is dropped."""
    with suppress(OSError, AttributeError):
        _flush(sys.stderr, ERROR)


def _flush(stream, fd: int) -> None:
    """Raises OSError, and then what was left is dropped: Python's own end would fail on it (status 120)."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, fd)
            os.close(null)
        raise
