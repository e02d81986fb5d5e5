"""`splitvmm compile`: a schema as the C header that its handler includes."""

from __future__ import annotations

from pathlib import Path

from . import standard
from .kit import DEVICE


def add(commands) -> None:
    compile_ = commands.add_parser(
        "compile", help="print the C header of a device's schema",
        description="Print the C header of a device's schema, or write it to a file.")
    compile_.set_defaults(func=compile_schema, parser=compile_)
    compile_.add_argument("device", metavar="DEVICE", help=DEVICE)
    compile_.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")


def compile_schema(options) -> int:
    from ..kit.load import named
    found = named(options.device)
    standard.write(found.header(found.schema, found.module.__name__.replace(".", "/") + ".py"), options.output)
    return 0
