"""docs/reference.md, the C and Python API for authors of devices: from docstrings and headers.

    python -m tools.reference [--check]
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

from vmm.device import options
from vmm.device.register_device import RegisterDevice
from vmm.device.timers import Timer
from vmm.devmodel import schema
from vmm.devmodel.arrays import Array
from vmm.paths import HEADERS, ROOT
from vmm.testing import Driver, PackedRing, Registers, Ring, driven, driven_virtio
from vmm.virtio.virtio_device import VirtioDevice
from vmm.virtqueue.ring import BrokenQueue, Chain
from vmm.virtqueue.virtqueue import UserQueue

PAGE = ROOT / "docs" / "reference.md"
HEAD = """# C and Python API for authors of devices

Made from docstrings and headers by `python -m tools.reference`; change those instead. How it all goes together is
in the tutorials: [adder](../examples/adder/README.md), [blitter](../examples/blitter/README.md),
[louder](../examples/louder/README.md).
"""

PYTHON = (
    ("The schema: `vmm.devmodel.schema`", (
        schema.Device, schema.reg, schema.regfile, schema.RegisterFile, schema.memory, schema.queue, schema.reasons,
        schema.Block, schema.enum_of, schema.bits_of, schema.nested, schema.Access, schema.Takes, schema.Widths,
        schema.Writer), ()),
    ("A register device: `vmm.RegisterDevice`", (RegisterDevice,), (
        "attach", "alone", "interrupt", "set_bits", "clear_bits", "timer", "trace", "read", "write", "write_undeclared",
        "close")),
    ("Timers", (Timer,), ("start", "stop", "running")),
    ("Arrays of registers and fields", (Array,), ("memoryview",)),
    ("Options: `vmm.device.options`", (
        options.whole, options.switch, options.choice, options.size, options.text, options.path), ()),
    ("A virtio device: `vmm.VirtioDevice`", (VirtioDevice,), (
        "serve", "config_changed", "config_write", "driver_ready")),
    ("Its queues: `vmm.UserQueue`, `vmm.BrokenQueue`", (UserQueue, Chain, BrokenQueue), ("chains", "gather", "push")),
    ("Testing: `vmm.testing`", (driven, driven_virtio), ()),
    ("Drivers in a guest's place", (Registers, Driver, Ring, PackedRing), (
        "read", "write", "read_at", "write_at", "interrupts", "declined", "start", "needs_reset", "request", "put",
        "chain", "offer", "ring", "take", "set_no_interrupt")),
)
C = (
    ("A register device's handler: `device.h`", "device.h", ("DEVICE", "ON", "memory_at")),
    ("Memory that others read or write meanwhile: `atomic.h`", "atomic.h", (
        "READ_ONCE", "WRITE_ONCE", "fetch_or", "fetch_and")),
    ("What every handler may use: `platform.h`", "platform.h", (
        "ram_at", "copy", "now_ns", "bits_of", "registers_at", "device_page", "ram_holds", "ram_address")),
    ("The same, of the BPF build: `platform_bpf.h`", "platform_bpf.h", ("device_page_at", "trace")),
    ("The same, of the native build: `platform_native.h`", "platform_native.h", ("barrier_var",)),
    ("A virtio device's handler: `serving.h`", "serving.h", (
        "DEVICE_SERVES", "DEVICE_AT_ONCE", "used_count", "charge_step", "charge_bytes", "may_copy", "over_budget")),
    ("Walking a chain: `walk.h`, `virtqueue.h`", "walk.h", ("walk_chain", "walk_pair", "walk_to")),
    ("Completing requests: `virtqueue.h`", "virtqueue.h", (
        "chain_start", "chain_next", "avail_take", "used_push")),
)


# Python

def _entry(what: object, level: str) -> list[str]:
    name = getattr(what, "__name__", "")
    function = getattr(what, "fget", None) or getattr(what, "__wrapped__", None) or what
    name = name or getattr(function, "__name__", "")
    text = inspect.getdoc(what)
    if not text and level == "####":
        raise LookupError(f"{name} has no docstring; wanted one, as it is in {PAGE.name}")
    return [f"{level} `{name}`", *_signature(what, name, function), *([_marked(text)] if text else [])]


def _signature(what: object, name: str, function: object) -> list[str]:
    if inspect.isclass(what) or isinstance(what, property):
        return []
    takes = re.sub(r"'", "", str(inspect.signature(function))).replace("(self, ", "(").replace("(self)", "()")
    return [f"```python\n{name}{takes}\n```"]


def _marked(text: str) -> str:
    """A docstring, whose indented parts are code in Markdown as well, with RST's quotes as Markdown's."""
    return text.replace("``", "`")


def python_parts() -> list[str]:
    parts = ["## Python"]
    for title, things, methods in PYTHON:
        parts.append(f"### {title}")
        for thing in things:
            parts += _entry(thing, "####")
            for name in methods:
                if found := inspect.getattr_static(thing, name, None):
                    parts += _entry(found, "#####")
    parts.append("### Fixtures of `splitvmm test`: `vmm.testing.plugin`, `vmm.verify.plugin`")
    for room in ("testing", "verify"):
        for node in ast.parse((ROOT / "vmm" / room / "plugin.py").read_text()).body:
            if isinstance(node, ast.FunctionDef):
                parts += [f"#### `{node.name}`", ast.get_docstring(node) or ""]
    return parts


# C

def c_entry(text: str, name: str) -> list[str]:
    """A function's or macro's own lines, and the comment before it."""
    found = re.search(rf"(?:/\*(?P<comment>(?:(?!\*/).)*)\*/\n)?(?P<line>(?:static [^\n;{{]*?\b{name}\((?:[^)]|\n)*\)|"
                      rf"__apart [^\n;{{]*?\b{name}\((?:[^)]|\n)*\)|#define {name}\b(?:\([^)]*\))?))", text, re.DOTALL)
    if not found:
        raise LookupError(f"no {name} in the headers; wanted it, as it is in {PAGE.name}")
    line = re.sub(r"static |__always_inline |__apart |__attribute__\(\(.*?\)\) ", "", found["line"])
    parts = [f"#### `{name}`", f"```c\n{' '.join(line.split()).removeprefix('#define ')}\n```"]
    if found["comment"]:
        parts.append(re.sub(r"\n *\* ?", "\n", found["comment"]).strip())
    return parts


def c_parts() -> list[str]:
    how = ("A handler includes its own generated header, then `device.h`, or `doorbell.h` and `walk.h`. It is built "
           "twice; what is here is there in both builds.")
    parts = ["## C", how]
    for title, header, names in C:
        text = (HEADERS / header).read_text()
        parts += [f"### {title}", "```c\n" + _about(text) + "\n```"]
        for name in names:
            parts += c_entry(text, name)
    return parts


def _about(text: str) -> str:
    """The comment that a header begins with."""
    return re.sub(r"\n \*(?: |$)?", "\n", re.match(r"/\*(.*?)\*/", text, re.DOTALL)[1]).strip()


def page() -> str:
    return "\n\n".join([HEAD.strip(), *python_parts(), *c_parts()]) + "\n"


def written(path: Path, text: str, source: str, arguments: list[str]) -> int:
    """Write a page, or with --check see whether it is written: an exit status."""
    if "--check" not in arguments:
        path.write_text(text)
        return 0
    if path.exists() and path.read_text() == text:
        return 0
    print(f"docs/{path.name} is not what {source}; run `make headers`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(written(PAGE, page(), "docstrings and headers say", sys.argv[1:]))
