"""The command line: one function a command; `main` only dispatches."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import UserError
from ..sync.signals import ending_once
from . import completion, header, kit, messages, report, run, standard
from .parser import Parser, Version
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
    kit.add(commands)
    _add_bench(commands)
    header.add(commands)
    report.add(commands)
    completion.add(commands, parser)
    for command in commands.choices.values():
        messages.add_options(command, messages.BEHIND)
    return parser


PEERS = {"exits": (), "blk": ("qemu",), "net": ("qemu",), "linux": ("qemu", "vhost")}


def _add_bench(commands) -> None:
    bench = commands.add_parser(
        "bench", help="time exits, block requests, packets or a Linux guest, with offload off and on",
        description="Time the exit path, block requests, packets or a Linux guest's disk and network, in several "
        "modes, interleaved in one run.")
    bench.set_defaults(func=run_bench, parser=bench)
    bench.add_argument("what", choices=PEERS, help="what to time")
    bench.add_argument("--modes", metavar="LIST", default="off,host,on",
                       help="which modes to compare (default: off,host,on)")
    bench.add_argument("--peer", metavar="LIST", default="", help="run the same guest there as well: qemu (blk, net, "
                       "linux), vhost (linux: QEMU with the kernel's network device)")
    bench.add_argument("--one-cpu", action="store_true", help="everything on one CPU")
    bench.add_argument("--directory", metavar="DIR", type=Path, help="where the disk image lies while it is "
                       "measured: its file system counts")
    bench.add_argument("--repeat", metavar="N", default="5", help="repetitions of each row (default: 5)")
    bench.add_argument("--quick", action="store_true", help="few rows and few requests, for a first look")
    bench.add_argument("--json", metavar="FILE", type=Path, help="write the rows to FILE as well")
    bench.add_argument("--in-nested", action="store_true", help="in a machine with hardware-style KVM that is "
                       "emulated on this one, built if need be; for hosts whose KVM does not run Linux")


def run_bench(options) -> int:
    from ..bench import nested, run
    from . import options as parse
    modes = options.modes.split(",")
    for mode in modes:
        parse.choice(mode, "--modes", ("off", "host", "on"))
    peers = options.peer.split(",") if options.peer else []
    for peer in peers:
        if peer not in PEERS[options.what]:
            raise UserError(f"--peer {peer!r} with {options.what}; wanted "
                            + (" or ".join(PEERS[options.what]) or "none"))
    repeat = parse.whole(options.repeat, "--repeat", 1, 100)
    if options.json and not options.json.parent.is_dir():
        raise UserError(f"--json {options.json}: no folder {options.json.parent}; wanted it to be there")
    if options.in_nested:
        return nested.bench(options)
    return run.main(options.what, modes, peers, repeat, options.quick, options.json, options.one_cpu, options.directory)
