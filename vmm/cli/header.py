"""`splitvmm compile`: a schema as the C header that its handler includes."""

from __future__ import annotations

from pathlib import Path

from . import standard
from .kit import DEVICE


def add(commands) -> None:
    compile_ = commands.add_parser(
        "compile", help="print the C header of a device's schema",
        description="Print the C header of a device's schema, or of a Block's that no device has "
        "(package.module:BLOCK; a vCPU's state is vmm.devmodel.vcpu:VcpuState), or write it to a file.")
    compile_.set_defaults(func=compile_schema, parser=compile_)
    compile_.add_argument("device", metavar="DEVICE", help=DEVICE)
    compile_.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it to FILE")


def compile_schema(options) -> int:
    from ..devmodel.headers import block_header
    from ..kit.load import block_named, named
    if block := block_named(options.device):
        kind, module = block
        standard.write(block_header(kind, _source(module)), options.output)
        return 0
    found = named(options.device)
    standard.write(found.header(found.schema, _source(found.module)), options.output)
    return 0


def _source(module) -> str:
    return module.__name__.replace(".", "/") + ".py"
