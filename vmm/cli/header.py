"""`splitvmm compile`: a schema as the C header that its handler includes."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UserError
from .kit import DEVICE


def add(commands) -> None:
    compile_ = commands.add_parser(
        "compile", help="print the C header of a device's schema",
        description="Print the C header of a device's schema, or write it to a file.")
    compile_.set_defaults(func=compile_schema, parser=compile_)
    compile_.add_argument("device", metavar="DEVICE", help=DEVICE)
    compile_.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")


def compile_schema(options) -> int:
    from ..devmodel import SchemaError
    from ..devmodel.headers import device_header, module_extra
    from ..kit.load import named
    found = named(options.device)
    try:
        text = device_header(found.schema, found.module.__name__.replace(".", "/") + ".py", module_extra(found.module))
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
