"""What a driver sees of a device, as Markdown or HTML: registers, bits, memory, queues; and why its handler
may decline."""

from __future__ import annotations

import html as escaping
from dataclasses import dataclass, field

from ..device.options import declared
from ..device.register_device import RegisterDevice
from ..devmodel.device_layout import DeviceLayout, layout_device, own_enums
from ..devmodel.register_layout import several
from ..devmodel.schema import Access, Device, Takes, Widths
from ..devmodel.virtqueue import COMMON_REASONS

ACCESS = {Access.RO: "read", Access.RW: "read, write", Access.WO: "write", Access.W1C: "read, write ones to clear"}
TAKES = {Takes.USER: "userspace", Takes.POSTED: "stored, no exit", Takes.NOTIFY: "the handler"}


@dataclass
class Section:
    """A heading, some lines, and a table: its head, then its rows."""

    title: str
    lines: list[str] = field(default_factory=list)
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)


def sections(schema: type[Device], half: type[RegisterDevice] | None = None) -> list[Section]:
    """All there is to say; `half` is its Python half, for its options.  Raises SchemaError."""
    layout = layout_device(schema)
    found = [Section(schema.__name__, _about(layout)), _registers(layout), _several(layout), _bits(layout),
             *_enums(layout), _memory(layout), _queues(layout), _state(layout), _reasons(layout), _options(half)]
    return [found[0], *(section for section in found[1:] if section.rows)]


def _about(layout: DeviceLayout) -> list[str]:
    lines = [" ".join(part.split()) for part in (layout.device.__doc__ or "").split("\n\n")]
    if layout.page:
        lines.append(f"{layout.window:#x} bytes of guest-physical memory. An access that is not of one whole register "
                     + ("touches each register in it, the lowest first." if layout.widths is Widths.SPLIT else
                        "has no effect."))
    lines.append((f"Virtio device {layout.id}, version" if layout.queues else "Version")
                 + f" {layout.version}, layout {layout.hash:#018x}.")
    return lines


def _registers(layout: DeviceLayout) -> Section:
    section = Section("Registers", head=("offset", "register", "bytes", "guest may", "a write is taken by", "reset",
                                         "meaning"))
    for name, register in sorted(layout.firsts.items(), key=lambda item: item[1].offset):
        notes = [register.doc]
        if register.clears:
            notes.append(f"clears bits of `{register.clears}`")
        if register.latches:
            notes.append(f"latches {', '.join(f'`{each}`' for each in register.latches)}")
        if register.halves:
            notes.append("may be written as two halves of 4 bytes, the lower one first")
        if register.widths:
            notes.append(f"widths={register.widths.name}")
        if register.interrupts:
            notes.append("a write interrupts")
        if register.read_effect:
            notes.append("a read has an effect")
        taken = TAKES[register.takes] if register.access is not Access.RO else ""
        section.rows.append((f"`{register.offset:#05x}`", f"`{name}`", str(register.type.size), ACCESS[register.access],
                             taken, f"`{register.reset:#x}`", "; ".join(notes)))
    return section


def _several(layout: DeviceLayout) -> Section:
    section = Section("What comes several times", head=("name", "the first at", "apart", "how many"))
    section.rows = [(f"`{name}`", f"`{at:#05x}`", f"`{stride:#x}`", str(count)) for name, at, stride, count in
                    several(layout.device)]
    return section


def _bits(layout: DeviceLayout) -> Section:
    section = Section("Bits", head=("register", "bits", "name", "values"))
    for name, register in layout.firsts.items():
        for bits in register.bits:
            where = str(bits.low) if bits.width == 1 else f"{bits.low + bits.width - 1}-{bits.low}"
            values = ", ".join(f"{int(v)} {v.name}" for v in bits.enum) if bits.enum else ""
            section.rows.append((f"`{name}`", where, f"`{bits.name}`", values))
    return section


def _enums(layout: DeviceLayout) -> list[Section]:
    used = [r.type.enum for r in layout.registers.values() if r.type.enum]
    return [Section(values.__name__, [(values.__doc__ or "").strip()] if values.__doc__ else [], ("value", "name"),
                    [(f"`{int(value)}`", value.name) for value in values])
            for values in dict.fromkeys([*own_enums(layout.device), *used])]


def _memory(layout: DeviceLayout) -> Section:
    return Section("Memory", ["The guest's to read and to write, without an exit."],
                   ("offset", "name", "bytes", "meaning"),
                   [(f"`{item.offset:#x}`", f"`{name}`", f"{item.size:#x}", item.doc + _pixels(item.pixels))
                    for name, item in layout.memories.items()])


def _pixels(size: tuple[int, int] | None) -> str:
    return f"; a picture of {size[0]} x {size[1]} pixels, 0x00RRGGBB" if size else ""


def _queues(layout: DeviceLayout) -> Section:
    return Section("Queues", [], ("name", "how many", "entries at most", "meaning"),
                   [(f"`{name}`", str(queue.count), str(queue.size), queue.doc)
                    for name, queue in layout.queues.items()])


def _state(layout: DeviceLayout) -> Section:
    section = Section("Shared state", ["What both halves keep, beside the common counters; no guest sees it."],
                      ("block", "written by", "field", "meaning"))
    for block in layout.state.fields:
        if block.block and block.writer:        # not what every device has, of several writers
            section.rows += [(f"`{block.name}`", block.writer.value, f"`{item.name}`",
                              item.doc + (f" [{item.unit}]" if item.unit else ""))
                             for item in block.block.fields if not item.reserved]
    return section


def _reasons(layout: DeviceLayout) -> Section:
    return Section("Why the handler may decline", ["Beside the common reasons, which every device has."],
                   ("reason", "meaning"), [(f"`{reason.name}`", reason.__doc__ or "") for reason in layout.reasons
                                           if reason.name not in COMMON_REASONS])


def _options(half: type[RegisterDevice] | None) -> Section:
    return Section("Options", ["Keys of `--device`."], ("key", "values", "default", "meaning"),
                   [(f"`{name}`", option.wanted, str(option.default), option.doc) for name, option in
                    (declared(half) if half else {}).items()])


# Printing

def markdown(schema: type[Device], half: type[RegisterDevice] | None = None) -> str:
    parts = []
    for i, section in enumerate(sections(schema, half)):
        parts.append(f"{'#' if i == 0 else '##'} {section.title}")
        parts += section.lines
        if section.rows:
            table = [section.head, ("---",) * len(section.head), *section.rows]
            parts.append("\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in table))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_STYLE = ("body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;"
          "color-scheme:light dark}table{border-collapse:collapse;margin:1em 0}"
          "td,th{border:1px solid #8885;padding:.3em .7em;text-align:left;vertical-align:top}"
          "th{background:#8882}code{font:13px ui-monospace,monospace}")


def _inline(text: str) -> str:
    """Text with `code` in it."""
    parts = escaping.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def html(schema: type[Device], half: type[RegisterDevice] | None = None) -> str:
    found = sections(schema, half)
    title = escaping.escape(found[0].title)
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>']
    for i, section in enumerate(found):
        parts.append(f"<h{2 - (i == 0)}>{escaping.escape(section.title)}</h{2 - (i == 0)}>")
        parts += [f"<p>{_inline(line)}</p>" for line in section.lines]
        if section.rows:
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in section.head)
            rows = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>"
                           for row in section.rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    return "\n".join([*parts, "</html>"]) + "\n"
