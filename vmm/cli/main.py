"""The command line: one function a command; `main` only dispatches."""

from __future__ import annotations

import argparse
import os

from ..errors import UserError
from ..sync.signals import ending_once
from . import bench, completion, header, kit, messages, report, run, standard, top, trace, verify
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
    options, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unknown: {' '.join(unknown)}; wanted what --help lists")
    return options


def make_parser() -> Parser:
    parser = Parser(
        prog="splitvmm", description="Run virtual machines whose devices live on both sides of the "
        "kernel boundary, and measure what that buys.", epilog=f"Of `run`: {run.STATUSES[0].lower()}{run.STATUSES[1:]}")
    parser.add_argument("--version", action=Version, help="print the version")
    messages.add_options(parser, messages.BEFORE)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add(commands)
    trace.add(commands)
    kit.add(commands)
    verify.add(commands)
    top.add(commands)
    bench.add(commands)
    header.add(commands)
    report.add(commands)
    completion.add(commands, parser)
    for command in leaves(parser):
        messages.add_options(command, messages.BEHIND)
    return parser


def leaves(parser) -> list[argparse.ArgumentParser]:
    """Parsers of all commands, and of the commands of those that have some."""
    found = []
    for command, _ in commands_of(parser).values():
        found += leaves(command) or [command]
    return found
