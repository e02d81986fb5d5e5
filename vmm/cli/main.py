"""The command line: one function a command; `main` only dispatches."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import UserError
from ..sync.signals import ending_once
from . import messages, run, standard
from .parser import Parser, Version, commands_of
from .run import GuestFailed


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    standard.open_missing()
    try:
        with ending_once():
            try:
                options = _parse(arguments)
                with messages.shown(options):
                    return options.func(options)
            finally:
                standard.flush()
    except UserError as error:
        standard.say(str(error))
        return os.EX_USAGE
    except GuestFailed as error:
        standard.say(str(error))
        return os.EX_SOFTWARE
    except OSError as error:
        return standard.failed(error)
    finally:
        standard.drop_errors()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    given = sys.argv[1:] if arguments is None else arguments
    parser = make_parser(only_run=given[:1] == ["run"])
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unknown: {' '.join(unknown)}; wanted what --help lists")
    return options


def make_parser(only_run: bool = False) -> Parser:
    """With `only_run` it knows no other command, which saves a guest's start the time to make and import those."""
    parser = Parser(
        prog="splitvmm", description="Run virtual machines whose devices live on both sides of the "
        "kernel boundary, and measure what that buys.", epilog=f"Of `run`: {run.STATUSES[0].lower()}{run.STATUSES[1:]}")
    parser.add_argument("--version", action=Version, help="print the version")
    messages.add_options(parser, messages.BEFORE)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add(commands)
    if not only_run:
        _add_others(commands, parser)
    for command in leaves(parser):
        messages.add_options(command, messages.BEHIND)
    return parser


def _add_others(commands, parser: Parser) -> None:
    from . import bench, completion, header, kit, report, top, trace, verify
    trace.add(commands)
    kit.add(commands)
    verify.add(commands)
    top.add(commands)
    bench.add(commands)
    header.add(commands)
    report.add(commands)
    completion.add(commands, parser)


def leaves(parser) -> list[argparse.ArgumentParser]:
    """Parsers of all commands, and of the commands of those that have some."""
    found = []
    for command, _ in commands_of(parser).values():
        found += leaves(command) or [command]
    return found
