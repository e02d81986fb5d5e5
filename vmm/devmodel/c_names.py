"""Names that a device's header gives to the C compiler: each once, and none that the framework has."""

from __future__ import annotations

import re
from functools import lru_cache

from . import emit_c, exit_path, uring, virtqueue
from .device_layout import DeviceLayout
from .layout import in_order, layout_block
from .schema import SchemaError

# structs of kernel_devices/*.h that no schema declares
HANDWRITTEN = ("device", "visit", "serving", "walk", "collecting", "locking", "work", "tally", "chain", "segment")
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


def check_names(layout: DeviceLayout, parts: list[str]) -> None:
    """`parts` of its header, as emitted.  Raises SchemaError for a name that C would see twice."""
    taken = dict(_of_the_framework())
    known = {f"struct {block.c_name}" for block in in_order([virtqueue.control_layout(), virtqueue.queue_layout()])}
    for name, what in _named(parts):
        if name in taken and name not in known:
            raise SchemaError(layout.device.__name__, f"{name} in C twice: {what!r}, and {taken[name]!r}",
                              "names that stay apart in C, where each has the device's name before it")
        taken[name] = what
