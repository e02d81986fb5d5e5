"""`splitvmm compile`: a schema as the C header that its handler includes."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UserError


def add(commands) -> None:
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
