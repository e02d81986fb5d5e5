"""Layout -> C headers, with a `_Static_assert` on every offset and size.

The handlers are the kernel side: what userspace writes is `const` to them.
"""

from __future__ import annotations

from .device_layout import DeviceLayout
from .layout import BlockLayout, FieldLayout
from .schema import Writer, snake

NOTICE = "/* Generated from {source} by `splitvmm compile`; change that instead. */"


def _declare(item: FieldLayout) -> str:
    const = "const " if item.writer is Writer.USER else ""
    count = f"[{item.type.count}]" if item.type.count else ""
    meaning = item.doc.splitlines()[0] + (f" [{item.unit}]" if item.unit else "")
    return f"\t{const}{item.type.c_name} {item.name}{count};\t/* {item.offset:#05x} {meaning} */"


def _bit_lines(prefix: str, bits: tuple) -> list[str]:
    return [f"\t{prefix}_{name.upper()} = {(1 << width) - 1:#x} << {low}," if width > 1 else
            f"\t{prefix}_{name.upper()} = 1 << {low}," for name, low, width in bits]


def struct(block: BlockLayout) -> str:
    """The struct, its named bits, and asserts of its layout."""
    doc = block.doc.splitlines()[0] if block.doc else block.where
    lines = [f"/* {doc} */", f"struct {block.c_name} {{"]
    lines += [_declare(item) for item in block.fields]
    lines += ["};"]
    lines += [f"_Static_assert(__builtin_offsetof(struct {block.c_name}, {item.name}) == "
              f"{item.offset:#x}, \"{block.c_name}.{item.name}\");" for item in block.fields]
    lines += [f"_Static_assert(sizeof(struct {block.c_name}) == {block.size:#x}, \"{block.c_name}\");"]
    bits = [line for item in block.fields
            for line in _bit_lines(f"{block.c_name}_{item.name}".upper(), item.type.bits)]
    if bits:
        lines += ["enum {", *bits, "};"]
    return "\n".join(lines)


def enumeration(values: type) -> str:
    """An IntEnum under the same names: Side.USER is SIDE_USER, `enum side` the type."""
    name = snake(values.__name__)
    lines = [f"enum {name} {{"]
    for value in values:
        meaning = value.__doc__ if value.__doc__ != values.__doc__ else ""
        lines.append(f"\t{name.upper()}_{value.name} = {int(value)},"
                     + (f"\t/* {meaning} */" if meaning else ""))
    return "\n".join([*lines, "};"])


def constants(values: dict[str, int], prefix: str = "") -> str:
    return "\n".join(["enum {", *(f"\t{prefix}{name} = {value:#x}," for name, value in values.items()),
                      "};"])


def header(name: str, source: str, parts: list[str], includes: tuple[str, ...] = ()) -> str:
    """A whole header: guard, includes, parts."""
    guard = f"SPLITVMM_{name.upper()}_GEN_H"
    order = '_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");'
    return "\n\n".join([
        f"{NOTICE.format(source=source)}\n#ifndef {guard}\n#define {guard}",
        "\n".join(["#include <linux/types.h>", *(f'#include "{path}"' for path in includes)]),
        order, *parts, f"#endif /* {guard} */"]) + "\n"


def _registers(layout: DeviceLayout) -> list[str]:
    prefix = layout.c_name.upper()
    lines = [f"\t{prefix}_{name.upper()} = {register.offset:#05x},\t/* {register.access.value}, "
             f"{register.takes.value}: {register.doc} */"
             for name, register in layout.registers.items()]
    return ["\n".join(["enum {", *lines, "};"])] if lines else []


def device_parts(layout: DeviceLayout, known: frozenset[str] = frozenset()) -> list[str]:
    """What the header of a device holds, less the structs in `known`, which it includes."""
    prefix = layout.c_name.upper()
    identity = "\n".join([
        f"#define {prefix}_ID {layout.id}",
        f"#define {prefix}_VERSION {layout.version}",
        f"#define {prefix}_LAYOUT_HASH {layout.hash:#018x}ull",
        f"#define {prefix}_QUEUES {layout.queue_count}",
    ])
    structs = [struct(block) for block in layout.structs() if block.c_name not in known]
    return [identity, _handling(layout), *_registers(layout), enumeration(layout.reasons), *structs]


def _handling(layout: DeviceLayout) -> str:
    """What DEVICE_HANDLER does for this device; one object has one device."""
    return "\n".join([
        f"#define HANDLER_LOCKED {int(layout.locked)}\t/* it has the device to itself */",
        f"#define HANDLER_RAISES {int(not layout.queues)}\t/* HANDLED_INTERRUPT raises the device's line */",
    ])
