"""Names that a device's header gives to the C compiler: each once, and none that the framework has."""

from __future__ import annotations

import re
from functools import lru_cache

from . import emit_c, exit_path, uring, virtqueue
from .device_layout import DeviceLayout
from .layout import in_order, layout_block
from .register_layout import several
from .schema import SchemaError

# structs of kernel_devices/*.h that no schema declares
HANDWRITTEN = ("device", "visit", "serving", "walk", "collecting", "locking", "work", "tally", "chain", "segment",
               "burst", "wide", "iovec", "timespec", "bpf_raw_tracepoint_args")
PREDEFINED = ("unix", "linux", "i386", "asm", "typeof")     # by gcc and clang as GNU C has them
CONTEXT = ("device", "page", "state", "latched")            # members of what a handler's functions are given
PARAMETERS = ("offset", "value", "index")                   # of what is made for them
_TAG = re.compile(r"^(struct|enum) (\w+) \{$", re.MULTILINE)
_VALUE = re.compile(r"^(?:#define (\w+)\b|\t([A-Z]\w*) = )(.*)$", re.MULTILINE)


def _named(texts: list[str]) -> list[tuple[str, str]]:
    """(name, what it is) of all that is declared at file scope."""
    found = []
    for text in texts:
        found += [(f"{kind} {name}", f"{kind} {name}") for kind, name in _TAG.findall(text)]
        for macro, value, rest in _VALUE.findall(text):
            comment = re.search(r"/\* (.*) \*/", rest)
            found.append((macro or value, comment[1] if comment else f"{macro or value} {rest.strip().rstrip(',')}"))
    return found


@lru_cache(maxsize=1)
def _of_the_framework() -> dict[str, str]:
    structs = [*map(layout_block, (*virtqueue.MEMORY_STRUCTS, *exit_path.STRUCTS, *uring.STRUCTS)),
               virtqueue.control_layout(), virtqueue.queue_layout(), exit_path.vcpu_layout(),
               exit_path.machine_layout(), uring.uring_layout()]
    texts = [*map(emit_c.struct, in_order(structs)),
             *map(emit_c.enumeration, (virtqueue.Side, *exit_path.ENUMS, *uring.ENUMS)),
             emit_c.constants(exit_path.CONSTANTS), emit_c.constants(uring.CONSTANTS, "URING_")]
    return {name: "one of the framework's" for name, _ in _named(texts)} | \
        {f"struct {name}": "one of the framework's" for name in HANDWRITTEN}


def is_taken(name: str) -> bool:
    """Whether a device cannot be called so, as its structs and enums would be the framework's."""
    theirs = _of_the_framework()
    return name in (*PREDEFINED, *PARAMETERS, *CONTEXT) or any(
        f"{kind} {name}{what}" in theirs for kind in ("struct", "enum") for what in ("", "_page", "_state", "_decline",
                                                                                     "_notify"))


def check_names(layout: DeviceLayout, parts: list[str]) -> None:
    """`parts` of its header, as emitted.  Raises SchemaError for a name that C would see twice."""
    taken = dict(_of_the_framework())
    for name, what in _named(parts):
        if name in taken:
            raise SchemaError(layout.device.__name__, f"{name} in C twice: {what!r}, and {taken[name]!r}",
                              "names that stay apart in C, where each has the device's name before it")
        taken[name] = what
        kind, _, tag = name.partition(" ")
        other = f"{'enum' if kind == 'struct' else 'struct'} {tag}"
        if tag and other in taken:
            raise SchemaError(layout.device.__name__, f"{name} in C, and {other}", "one of them called otherwise")
    _check_members(layout)


def _check_members(layout: DeviceLayout) -> None:
    where = layout.device.__name__
    if layout.c_name in (*PREDEFINED, *PARAMETERS, *CONTEXT):
        raise SchemaError(where, f"a device called {layout.c_name}, as something else is in C", "another name")
    for block in layout.structs():
        for item in block.fields:
            if item.name in PREDEFINED:
                raise SchemaError(f"{where}.{item.name}", "a name that C compilers have for something else",
                                  "another one")
    for name, *_ in several(layout.device):
        if name in CONTEXT and any(f"{bell}_".startswith(f"{name}_") for bell in layout.notify):
            raise SchemaError(f"{where}.{name}", f"doorbells in {name}, whose number a handler would find as {name}, "
                              "which is something else", "another name")
