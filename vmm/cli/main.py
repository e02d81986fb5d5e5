"""The command line: one function a command; `main` only dispatches."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..errors import UserError
from ..sync.signals import ending_once
from . import bench, run, standard
from .run import GuestFailed


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    standard.open_missing()
    try:
        with ending_once():
            try:
                options = _parse(arguments)
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


class _Parser(argparse.ArgumentParser):
    """Ends with EX_USAGE, after the usage of the command that was given."""

    def error(self, message: str):
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unknown: {' '.join(unknown)}; wanted what --help lists")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="splitvmm", description="Run virtual machines whose devices live on both sides of the "
        "kernel boundary, and measure what that buys.", epilog=f"Of `run`: {run.STATUSES[0].lower()}{run.STATUSES[1:]}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add(commands)
    bench.add(commands)
    _add_compile(commands)
    _add_doctor(commands)
    return parser


def _add_compile(commands) -> None:
    compile_ = commands.add_parser(
        "compile", help="print the C header of a device's schema",
        description="Print the C header of a device's schema, or write it to a file.")
    compile_.set_defaults(func=compile_schema, parser=compile_)
    compile_.add_argument("schema", metavar="MODULE:CLASS", help="the device, such as "
                          "vmm.devmodel.devices.blk:Blk; the current directory is looked in first")
    compile_.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")


def compile_schema(options) -> int:
    from importlib import import_module

    from ..devmodel import SchemaError
    from ..devmodel.headers import device_header, module_extra
    from ..devmodel.schema import Device
    module_name, _, class_name = options.schema.partition(":")
    if not module_name or not class_name:
        raise UserError(f"{options.schema!r}; wanted MODULE:CLASS")
    sys.path.insert(0, "")
    try:
        module = import_module(module_name)
        device = getattr(module, class_name)
        if not (isinstance(device, type) and issubclass(device, Device)):
            raise UserError(f"{options.schema}: no device; wanted a subclass of vmm.devmodel.schema.Device")
        text = device_header(device, module_name.replace(".", "/") + ".py", module_extra(module))
    except ImportError as error:
        raise UserError(f"{options.schema}: {error}; wanted a module that can be imported") from None
    except AttributeError:
        raise UserError(f"{options.schema}: {module_name} has no {class_name}") from None
    except SchemaError as error:
        raise UserError(str(error)) from None
    if options.output:
        try:
            options.output.write_text(text)
        except OSError as error:
            raise UserError(f"--output {options.output}: {error.strerror}; wanted a file to write") from None
    else:
        sys.stdout.write(text)
    return 0


def _add_doctor(commands) -> None:
    doctor = commands.add_parser(
        "doctor", help="check this host: what works, what will be used, how to get the rest",
        description="Check this host: what works, what each part is needed for, what will be used here, "
        "and how to get the rest.  Ends with 0 if guests can run here.")
    doctor.set_defaults(func=run_doctor, parser=doctor)


def run_doctor(_options) -> int:
    from . import doctor
    return doctor.main()
