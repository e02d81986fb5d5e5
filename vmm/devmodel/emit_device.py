"""A device's layout -> the parts of its C header: what it is, its registers by name, its structs, and what
the functions of its handler are given (device.h)."""

from __future__ import annotations

from .device_layout import DeviceLayout, own_enums
from .emit_c import bit_lines, comment, enumeration, struct
from .layout import in_order
from .register_layout import PlacedRegister, all_files, several
from .schema import Register, Takes, Values


def device_parts(layout: DeviceLayout, known: frozenset[str] = frozenset(),
                 declared: tuple[Values, ...] = ()) -> list[str]:
    """What the header of a device holds, less the structs in `known`, which it includes, and the enums in
    `declared`, which it has already."""
    page_structs = {block.c_name for block in in_order(layout.c_pages)}     # whose bits are the registers'
    structs = [struct(block, block.c_name not in page_structs) for block in layout.structs()
               if block.c_name not in known]
    return [_identity(layout), _handling(layout), *_enums(layout, declared), *_registers(layout),
            enumeration(layout.reasons), *structs, *_context(layout)]


def _identity(layout: DeviceLayout) -> str:
    prefix = layout.c_name.upper()
    return "\n".join([
        f"#define {prefix}_ID {layout.id}",
        f"#define {prefix}_VERSION {layout.version}",
        f"#define {prefix}_LAYOUT_HASH {layout.hash:#018x}ull",
        f"#define {prefix}_QUEUES {layout.queue_count}",
    ])


def _handling(layout: DeviceLayout) -> str:
    """What DEVICE and DEVICE_HANDLER do for this device; one object has one device."""
    lines = [
        f"#define HANDLER_LOCKED {int(layout.locked)}\t/* it has the device to itself */",
        f"#define HANDLER_RAISES {int(not layout.queues)}\t/* HANDLED_INTERRUPT raises the device's line */",
    ]
    if has_context(layout):
        lines += [f"#define HANDLER_MEMORY_BYTES {layout.memory_bytes:#x}",
                  f"#define HANDLER_HASH {layout.c_name.upper()}_LAYOUT_HASH",
                  f"#define HANDLER_STATE struct {layout.c_name}_state",
                  f"#define HANDLER_CONTEXT struct {layout.c_name}",
                  f"#define HANDLER_DOORBELLS enum {layout.c_name}_notify",
                  f"#define handler_prepare {layout.c_name}_prepare"]
    return "\n".join(lines)


def has_context(layout: DeviceLayout) -> bool:
    """Whether it is a device whose handler may be put together by DEVICE: registers, and no queues."""
    return bool(layout.notify) and not layout.queues


def _enums(layout: DeviceLayout, declared: tuple[Values, ...]) -> list[str]:
    """Those of the device's body, and those that its registers and fields are of."""
    own = own_enums(layout.device)
    found: list[Values] = []
    types = [item.type for block in layout.structs() for item in block.fields]
    for values in [*(t.enum for t in types), *(bits.enum for t in types for bits in t.bits)]:
        if values and values not in (*own, *declared, *found) and values.__module__ == layout.device.__module__:
            found.append(values)
    return [*(enumeration(values, f"{layout.c_name}_") for values in own), *map(enumeration, found)]


# Registers

def _line(prefix: str, register: PlacedRegister) -> str:
    each = ", of the first" if register.indices else ""
    return (f"\t{prefix}_{register.declared.upper()} = {register.offset:#05x},\t/* {register.access.value}, "
            f"{register.takes.value}: {comment(register.doc)}{each} */")


def _registers(layout: DeviceLayout) -> list[str]:
    prefix = layout.c_name.upper()
    firsts, files = layout.firsts.values(), all_files(layout.device)
    plain = [_line(prefix, register) for register in firsts if register.takes is not Takes.NOTIFY]
    plain += [f"\t{prefix}_{name.upper()}{what} = {value:#x}," for name, at, stride, count in several(layout.device)
              for what, value in (("", at), ("_STRIDE", stride), ("_COUNT", count)) if what or name in files]
    for name, place in layout.memory_places().items():
        item, about = layout.memories[name], comment(layout.memories[name].doc)
        plain += [f"\t{prefix}_{name.upper()} = {place:#x},\t/* {about}: where it starts in all device memory */",
                  f"\t{prefix}_{name.upper()}_BYTES = {item.size:#x},\t/* how much of it there is */",
                  f"\t{prefix}_{name.upper()}_AT = {item.offset:#x},\t/* where a guest has it, from the base */"]
    rung = [_line(prefix, register) for register in firsts if register.takes is Takes.NOTIFY]
    masks = [line for register in firsts for line in bit_lines(f"{prefix}_{register.declared.upper()}", register.bits)]
    return ["\n".join([head, *lines, "};"]) for head, lines in (
        ("enum {", plain), (f"enum {layout.c_name}_notify {{", rung), ("enum {", masks)) if lines]


# What a handler's functions are given

def _context(layout: DeviceLayout) -> list[str]:
    if not has_context(layout):
        return []
    return [_context_struct(layout), _prepare(layout)]


def _latched(layout: DeviceLayout) -> dict[str, Register]:
    return {name: layout.registers[name] for register in layout.notify.values() for name in register.latches}


def _indices(layout: DeviceLayout) -> list[tuple[str, int, int, int]]:
    """Of what comes several times, what has doorbells in it."""
    return [entry for entry in several(layout.device)
            if any(f"{name}_".startswith(f"{entry[0]}_") for name in layout.notify)]


def _context_struct(layout: DeviceLayout) -> str:
    name = layout.c_name
    lines = ["struct device;", "", "/* What the functions of its handler are given: see device.h. */",
             f"struct {name} {{", "\tstruct device *device;",
             f"\tstruct {name}_page *page;\t/* the registers, as the guest reads them */",
             f"\tstruct {name}_state *state;"]
    lines += [f"\t__u32 {file};\t/* which {file} the write is of, where it is of one */"
              for file, *_ in _indices(layout)]
    if latched := _latched(layout):
        lines += ["\tstruct {", *(f"\t\t{register.type.c_name} {each};" for each, register in latched.items()),
                  "\t} latched;\t/* read once, when the doorbell was rung */"]
    return "\n".join([*lines, "};"])


def _prepare(layout: DeviceLayout) -> str:
    """A function, as no table could be walked by the verifier as well."""
    name, returned = layout.c_name, "static inline __attribute__((unused)) __u32"
    about = "Which register a write is of, as the first of its kind; what DEVICE does before it calls a function."
    lines = [f"/* {about} */", f"{returned} {name}_prepare(struct {name} *{name}, __u32 offset, __u64 *value)", "{"]
    for file, at, stride, count in _indices(layout):
        lines += [f"\tif (offset >= {at:#x} && offset < {at + stride * count:#x}) {{",
                  f"\t\t__u32 index = (offset - {at:#x}) / {stride:#x};", "",
                  f"\t\toffset = {at:#x} + (offset - {at:#x}) % {stride:#x};",
                  '\t\t__asm__ volatile("" : "+r"(index));\t/* or the next line goes, which the verifier looks for */',
                  f"\t\t{name}->{file} = index < {count} ? index : 0;", "\t}"]
    for register in layout.notify.values():
        lines += _half(name, register) + _latch(layout, register)
    return "\n".join([*lines, "\t(void)value;", "\treturn offset;", "}"])


def _half(name: str, register: PlacedRegister) -> list[str]:
    if not register.halves:
        return []
    low = f"(__u32)*(const volatile __u64 *)&{name}->page->{register.declared}"
    return [f"\tif (offset == {register.offset + 4:#x}) {{\t/* the upper half; the lower one is posted */",
            f"\t\toffset = {register.offset:#x};", f"\t\t*value = *value << 32 | {low};", "\t}"]


def _latch(layout: DeviceLayout, register: PlacedRegister) -> list[str]:
    if not register.latches:
        return []
    name = layout.c_name
    types = {each: layout.registers[each].type.c_name for each in register.latches}
    taken = [f"\t\t{name}->latched.{each} = *(const volatile {type_} *)&{name}->page->{each};"
             for each, type_ in types.items()]
    return [f"\tif (offset == {register.offset:#x}) {{", *taken, "\t}"]
