"""How much is said on standard error, beside errors; the only place that sets logging up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError
from . import standard

LEVELS = ("debug", "info", "warning", "error")
BEFORE, BEHIND = "before_", ""      # a command's name; argparse would let one replace the other


def add_options(parser, place: str) -> None:
    """Those that every command has, before its name and behind it."""
    group = parser.add_argument_group("messages")
    group.add_argument("-v", "--verbose", dest=f"{place}verbose", action="count", default=0,
                       help="say what is done; twice: in detail")
    group.add_argument("-q", "--quiet", dest=f"{place}quiet", action="store_true", help="say nothing but errors")
    group.add_argument("--log-level", dest=f"{place}log_level", metavar="LEVEL", choices=LEVELS,
                       help=f"what to say, and all that is worse: {', '.join(LEVELS[:-1])} or {LEVELS[-1]} "
                       "(default: warning), whatever -v and -q say")


def level(options) -> str:
    """What the options come to.  Raises UserError."""
    verbose, quiet = options.before_verbose + options.verbose, options.before_quiet or options.quiet
    if verbose and quiet:
        raise UserError("--quiet and --verbose given; wanted one of them")
    return options.log_level or options.before_log_level or (
        "error" if quiet else ("warning", "info", "debug")[min(verbose, 2)])


class _Lines(logging.Handler):
    """A line a message."""

    def emit(self, record: logging.LogRecord) -> None:
        standard.say(self.format(record))


@contextmanager
def shown(options) -> Iterator[None]:
    """Messages are, for the block, as the options say."""
    wanted, lines, log = level(options).upper(), _Lines(), logging.getLogger("splitvmm")
    before = log.level
    log.addHandler(lines)
    log.setLevel(wanted)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(lines)
