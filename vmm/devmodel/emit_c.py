"""Layout -> C headers, with a `_Static_assert` on every offset and size.

The handlers are the kernel side: what userspace writes is `const` to them.
"""

from __future__ import annotations

from .declaration import snake
from .layout import BlockLayout, FieldLayout
from .schema import Bits, Values, Writer

NOTICE = "/* Generated from {source} by `splitvmm compile`; change that instead. */"


def comment(text: str) -> str:
    """The first line of a text, as it may stand in a comment."""
    return (text.splitlines() or [""])[0].replace("*/", "* /").replace("/*", "/ *")


def _declare(item: FieldLayout) -> str:
    const = "const " if item.writer is Writer.USER else ""
    count = f"[{item.type.count}]" if item.type.count else ""
    count += f"[{item.step}]" if item.step > 1 else ""      # element i is [i][0]
    meaning = comment(item.doc) + (f" [{item.unit}]" if item.unit else "")
    return f"\t{const}{item.type.c_name} {item.name}{count};\t/* {item.offset:#05x} {meaning} */"


def bit_lines(prefix: str, bits: tuple[Bits, ...]) -> list[str]:
    """Masks; `bits_of(value, MASK)` in platform.h takes what one says out of a value."""
    return [f"\t{prefix}_{item.name.upper()} = {_ones(item)} << {item.low}," for item in bits]


def _ones(bits: Bits) -> str:
    """As many as are named, wide enough to be shifted; a single one in decimal."""
    ones = f"{(1 << bits.width) - 1:#x}" if bits.width > 1 else "1"
    return ones + ("ull" if bits.low + bits.width > 31 else "")


def struct(block: BlockLayout, named_bits: bool = True) -> str:
    """The struct, its named bits unless they are named elsewhere, and asserts of its layout."""
    doc = comment(block.doc or block.where)
    lines = [f"/* {doc} */", f"struct {block.c_name} {{"]
    lines += [_declare(item) for item in block.fields]
    lines += ["};"]
    lines += [f"_Static_assert(__builtin_offsetof(struct {block.c_name}, {item.name}) == "
              f"{item.offset:#x}, \"{block.c_name}.{item.name}\");" for item in block.fields]
    lines += [f"_Static_assert(sizeof(struct {block.c_name}) == {block.size:#x}, \"{block.c_name}\");"]
    bits = [line for item in block.fields if named_bits
            for line in bit_lines(f"{block.c_name}_{item.name}".upper(), item.type.bits)]
    if bits:
        lines += ["enum {", *bits, "};"]
    return "\n".join(lines)


def enumeration(values: Values, prefix: str = "") -> str:
    """An IntEnum under the same names: Side.USER is SIDE_USER, `enum side` the type; of a device's own
    with its name before them: BLITTER_COMMAND_FILL."""
    name = prefix + snake(values.__name__)
    lines = [f"enum {name} {{"]
    for value in values:
        meaning = value.__doc__ if value.__doc__ != values.__doc__ else ""
        lines.append(f"\t{name.upper()}_{value.name} = {int(value)},"
                     + (f"\t/* {comment(meaning)} */" if meaning else ""))
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
