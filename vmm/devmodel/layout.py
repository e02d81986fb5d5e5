"""Schema -> offsets and sizes.  Every check of a declaration that needs a number is here.

There is no padding that nobody declared: a field that does not fall on its own
alignment is an error that says how many reserved bytes to add.  Only between the
blocks of a device's state does the layout itself move on, to the next cache line,
and it emits those bytes by name.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from .schema import (Access, Block, Field, Queue, Register, SchemaError, Takes, Type,
                     Writer)
from . import schema

CACHE_LINE = 64         # bytes; writers never share one
PAGE = 4096             # bytes; a register page, as a KVM memory slot needs it
MAX_REASONS = 24        # length of virtqueue.Kernel.declined, reason 0 included
SCALARS = {Type(t.c_name, t.size, t.align, t.signed): t for t in (
    schema.u8, schema.u16, schema.u32, schema.u64, schema.i8, schema.i16, schema.i32,
    schema.i64, schema.le16, schema.le32, schema.le64)}


@dataclass(frozen=True)
class FieldLayout:
    """A field at its place; `offset` and `size` in bytes, `size` of all elements."""

    name: str
    offset: int
    size: int
    type: Type
    doc: str
    unit: str = ""
    writer: Writer | None = None
    block: BlockLayout | None = None    # of the nested block
    reserved: bool = False


@dataclass(frozen=True)
class BlockLayout:
    """A struct: `size` and `align` in bytes."""

    c_name: str
    where: str
    doc: str
    size: int
    align: int
    fields: tuple[FieldLayout, ...]
    writer: Writer | None = None

    def field(self, name: str) -> FieldLayout:
        for item in self.fields:
            if item.name == name:
                return item
        raise KeyError(f"{self.where} has no field {name!r}")


@dataclass(frozen=True)
class DeviceLayout:
    """Everything about one device; `page` describes its registers, `state` what is shared."""

    device: type
    c_name: str
    id: int
    version: int
    page: BlockLayout | None
    state: BlockLayout | None
    registers: dict[str, Register]
    queues: dict[str, Queue]
    reasons: type[enum.IntEnum]
    hash: int

    @property
    def queue_count(self) -> int:
        return sum(queue.count for queue in self.queues.values())

    @property
    def page_is_memory(self) -> bool:
        """Whether guest reads of the page may go straight to memory."""
        return not any(register.read_effect for register in self.registers.values())

    def structs(self) -> list[BlockLayout]:
        """Every struct this device needs, each after those that it contains."""
        return in_order([block for block in (self.page, self.state) if block])


def in_order(roots) -> list[BlockLayout]:
    """The roots and all that they contain, inner ones first, none twice."""
    found: dict[str, BlockLayout] = {}

    def visit(block):
        for item in block.fields:
            if item.block:
                visit(item.block)
        found.setdefault(block.c_name, block)

    for root in roots:
        visit(root)
    return list(found.values())


# Fields and blocks

def _check_enum(where: str, type_: Type) -> None:
    values = type_.enum
    if not (isinstance(values, type) and issubclass(values, enum.IntEnum) and len(values)):
        raise SchemaError(where, f"enum {values!r}", "an IntEnum with at least one value")
    low = -(1 << (8 * type_.size - 1)) if type_.signed else 0
    high = (1 << (8 * type_.size - type_.signed)) - 1
    for value in values:
        if not low <= value <= high:
            raise SchemaError(where, f"{values.__name__}.{value.name} = {int(value)}",
                              f"a value that fits {type_.c_name} ({low} to {high})")


def _check_bits(where: str, bits: tuple, size: int) -> None:
    taken: dict[int, str] = {}
    for name, low, width in bits:
        schema.check_name(f"{where}.{name}", name)
        if width < 1 or low < 0 or low + width > 8 * size:
            raise SchemaError(f"{where}.{name}", f"bits {low} to {low + width - 1}",
                              f"bits inside 0 to {8 * size - 1}")
        for bit in range(low, low + width):
            if bit in taken:
                raise SchemaError(f"{where}.{name}", f"bit {bit}, which {taken[bit]} has",
                                  "bits of its own")
            taken[bit] = name


def _check_type(where: str, type_) -> None:
    if not isinstance(type_, Type):
        raise SchemaError(where, f"type {type_!r}", "u8 to u64, i8 to i64, le16 to le64 or a block")
    if type_.count is not None and not (isinstance(type_.count, int) and type_.count > 0):
        raise SchemaError(where, f"an array of {type_.count!r}", "a count of 1 or more")
    if type_.enum is not None:
        _check_enum(where, type_)
    _check_bits(where, type_.bits, type_.size)


def _field(where: str, name: str, item: Field, offset: int) -> FieldLayout:
    type_, inner = item.type, None
    _check_type(where, type_)
    if not (isinstance(item.doc, str) and item.doc.strip()):
        raise SchemaError(where, "no meaning", "one line that says what it is")
    if type_.block is not None:
        if not (isinstance(type_.block, type) and issubclass(type_.block, Block)):
            raise SchemaError(where, f"nested({type_.block!r})", "a Block")
        inner = layout_block(type_.block)
        if inner.writer is not None:
            raise SchemaError(where, f"{inner.where}, which has a writer of its own",
                              "a block without writer=, as the outer one's writer counts")
        type_ = Type(f"struct {inner.c_name}", inner.size, inner.align, count=type_.count,
                     block=type_.block)
    if offset % type_.align:
        short = type_.align - offset % type_.align
        raise SchemaError(where, f"{type_.c_name} at offset {offset:#x}",
                          f"a multiple of {type_.align}; add {short} bytes of reserved field before it")
    return FieldLayout(name, offset, type_.size * (type_.count or 1), type_, item.doc, item.unit,
                       block=inner, reserved=name.startswith("reserved"))


@lru_cache(maxsize=None)
def layout_block(block: type, prefix: str = "") -> BlockLayout:
    """Lay a Block out.  Raises SchemaError."""
    where = block.__qualname__.split("<locals>.")[-1]
    writer = block.options.get("writer")
    unknown = set(block.options) - {"writer"}
    if unknown:
        raise SchemaError(where, f"option {sorted(unknown)[0]!r}", "writer=")
    if writer is not None and not isinstance(writer, Writer):
        raise SchemaError(where, f"writer {writer!r}", "USER, KERNEL or HOLDER")
    fields, offset, align = [], 0, 1
    for name, item in block.of_kind(Field).items():
        placed = _field(f"{where}.{name}", name, item, offset)
        fields.append(placed)
        offset, align = offset + placed.size, max(align, placed.type.align)
    if not fields:
        raise SchemaError(where, "no fields", "at least one")
    if offset % align:
        raise SchemaError(f"{where}.{fields[-1].name}", f"a block that ends at {offset:#x}",
                          f"a multiple of {align}; add {align - offset % align} bytes of reserved "
                          "field after it")
    return BlockLayout(prefix + block.c_name, where, (block.__doc__ or "").strip(), offset, align,
                       tuple(fields), writer)


def compose(c_name: str, where: str, doc: str, parts) -> BlockLayout:
    """One struct of `parts` (name, BlockLayout, count, doc), each on cache lines of its own."""
    fields, offset = [], 0
    for name, block, count, part_doc in parts:
        offset = _reserve(fields, offset, -offset % CACHE_LINE)
        type_ = Type(f"struct {block.c_name}", block.size, block.align, count=count)
        size = block.size * (count or 1)
        fields.append(FieldLayout(name, offset, size, type_, part_doc, writer=block.writer,
                                  block=block))
        offset += size
    offset = _reserve(fields, offset, -offset % CACHE_LINE)
    return BlockLayout(c_name, where, doc, offset, 8, tuple(fields))


def _reserve(fields: list, offset: int, count: int) -> int:
    if count:
        fields.append(FieldLayout(f"reserved_{offset:x}", offset, count, schema.u8[count],
                                  "to the next field's place", reserved=True))
    return offset + count


# Registers

def _check_register(where: str, register: Register, all_: dict) -> None:
    plain = Type(register.type.c_name, register.type.size, register.type.align, register.type.signed) \
        if isinstance(register.type, Type) else None
    if plain not in SCALARS or register.type.count is not None:
        raise SchemaError(where, f"type {register.type!r}", "one scalar of 1, 2, 4 or 8 bytes")
    if not (isinstance(register.doc, str) and register.doc.strip()):
        raise SchemaError(where, "no meaning", "one line that says what it is")
    if not isinstance(register.access, Access):
        raise SchemaError(where, f"access {register.access!r}", "RO, RW, WO or W1C")
    if not isinstance(register.takes, Takes):
        raise SchemaError(where, f"taker {register.takes!r}", "USER, POSTED or NOTIFY")
    width = register.type.size
    if register.offset < 0 or register.offset + width > PAGE:
        raise SchemaError(where, f"offset {register.offset:#x}", f"a place inside {PAGE:#x} bytes")
    if register.offset % width:
        raise SchemaError(where, f"offset {register.offset:#x}", f"a multiple of its width, {width}")
    if not 0 <= register.reset < 1 << 8 * width:
        raise SchemaError(where, f"reset value {register.reset:#x}", f"one that fits {width} bytes")
    if register.access is Access.RO and register.takes is not Takes.USER:
        raise SchemaError(where, f"{register.takes.value} but read-only", "a register that is written")
    if register.clears:
        if register.takes is not Takes.POSTED:
            raise SchemaError(where, f"clears {register.clears} but takes={register.takes.value}",
                              "takes=POSTED, which does the clearing")
        if register.clears not in all_:
            raise SchemaError(where, f"clears {register.clears!r}", f"one of {', '.join(all_)}")
        if all_[register.clears].type.size != 4 or width != 4:
            raise SchemaError(where, "a clear that is not 4 bytes wide",
                              "u32 on both sides, as BPF has no narrower atomic")
    if register.takes is Takes.POSTED and register.access is Access.W1C and width != 4:
        raise SchemaError(where, f"posted w1c of {width} bytes", "u32, as BPF has no narrower atomic")
    _check_bits(where, register.bits, width)


def _page(device: type, registers: dict[str, Register]) -> BlockLayout | None:
    if not registers:
        return None
    where = device.__name__
    for name, register in registers.items():
        _check_register(f"{where}.{name}", register, registers)
    fields, offset, before = [], 0, None
    for name, register in sorted(registers.items(), key=lambda pair: pair[1].offset):
        if register.offset < offset:
            raise SchemaError(f"{where}.{name}", f"offset {register.offset:#x}, inside {before}",
                              f"{offset:#x} or more")
        _reserve(fields, offset, register.offset - offset)
        fields.append(FieldLayout(name, register.offset, register.type.size,
                                  replace(register.type, bits=register.bits), register.doc))
        offset, before = register.offset + register.type.size, name
    _reserve(fields, offset, PAGE - offset)
    return BlockLayout(f"{device.c_name}_page", f"{where} registers", f"register page of {where}",
                       PAGE, 8, tuple(fields))


# Devices

def _reasons(device: type, common: dict[str, str]) -> type[enum.IntEnum]:
    named = {**common}
    for name, meaning in device.decline.items():
        if not name.isupper():
            raise SchemaError(f"{device.__name__}.decline.{name}", "a lower-case reason", "upper case")
        if name in named:
            raise SchemaError(f"{device.__name__}.decline.{name}", "a common reason's name",
                              "a name of its own")
        named[name] = meaning
    if len(named) >= MAX_REASONS:
        raise SchemaError(f"{device.__name__}.decline", f"{len(named)} reasons",
                          f"at most {MAX_REASONS - 1}, the common ones included")
    values = enum.IntEnum(f"{device.__name__}Decline", list(named)) if named else \
        enum.IntEnum(f"{device.__name__}Decline", ["NONE"])
    for name, meaning in named.items():
        values[name].__doc__ = meaning
    return values


def _check_queue(where: str, queue: Queue) -> None:
    if not (isinstance(queue.count, int) and queue.count >= 1):
        raise SchemaError(where, f"{queue.count!r} queues", "1 or more")
    if not (1 <= queue.size <= 32768 and queue.size & (queue.size - 1) == 0):
        raise SchemaError(where, f"{queue.size} entries", "a power of two, 1 to 32768 (VIRTIO 1.2, 2.7)")


def _hash(blocks, registers, reasons, version) -> int:
    text = [f"version {version}"]
    for block in blocks:
        text.append(f"{block.c_name} {block.size} {block.align}")
        text += [f" {f.name} {f.offset} {f.size} {f.type.c_name} {f.writer} {f.type.bits}"
                 f" {[(v.name, int(v)) for v in f.type.enum] if f.type.enum else ''}"
                 for f in block.fields]
    text += [f"{name} {r.offset} {r.type.size} {r.access} {r.takes} {r.bits} {r.clears}"
             for name, r in registers.items()]
    text += [f"{reason.name} {int(reason)}" for reason in reasons]
    return int.from_bytes(hashlib.sha256("\n".join(text).encode()).digest()[:8], "little")


@lru_cache(maxsize=None)
def layout_device(device: type) -> DeviceLayout:
    """Lay a Device out.  Raises SchemaError."""
    where, options = device.__name__, device.options
    for name in ("id", "version"):
        if not isinstance(options.get(name), int) or options[name] < (name == "version"):
            raise SchemaError(where, f"{name} {options.get(name)!r}",
                              "a whole number, as in `class Blk(Device, id=2, version=1)`")
    unknown = set(options) - {"id", "version"}
    if unknown:
        raise SchemaError(where, f"option {sorted(unknown)[0]!r}", "id= and version=")
    if not (device.__doc__ or "").strip():
        raise SchemaError(where, "no docstring", "one line with the specification's section")
    stray = device.of_kind(Field)
    if stray:
        raise SchemaError(f"{where}.{next(iter(stray))}", "a field outside a block",
                          "a register, or a field inside `class Name(Block, writer=...)`")
    registers, queues = device.of_kind(Register), device.of_kind(Queue)
    page = _page(device, registers)
    for name, queue in queues.items():
        _check_queue(f"{where}.{name}", queue)
    reasons = _reasons(device, _common_reasons())
    state = _state(device, queues)
    blocks = in_order([block for block in (page, state) if block])
    return DeviceLayout(device, device.c_name, options["id"], options["version"], page, state,
                        registers, queues, reasons,
                        _hash(blocks, registers, reasons, options["version"]))


def _common_reasons() -> dict[str, str]:
    from . import virtqueue     # imported here: virtqueue is itself laid out by this module
    return virtqueue.COMMON_REASONS


def _state(device: type, queues: dict[str, Queue]) -> BlockLayout:
    from . import virtqueue
    where, parts = device.__name__, []
    blocks = [b for b in device.of_kind(type).values() if issubclass(b, Block)]
    for block in blocks:
        inner = layout_block(block, f"{device.c_name}_")
        if inner.writer is None:
            if any(b is not block and any(f.type.block is block for f in b.of_kind(Field).values())
                   for b in blocks):
                continue        # only nested in another one
            raise SchemaError(f"{where}.{block.__name__}", "no writer", "writer=USER, KERNEL or HOLDER")
        parts.append((block.c_name, inner, None, inner.doc or block.__name__))
    parts.insert(0, ("control", virtqueue.control_layout(), None, "who holds the device, and counters"))
    count = sum(queue.count for queue in queues.values())
    if count:
        parts.append(("queue", virtqueue.queue_layout(), count, "virtqueues, in order of declaration"))
    return compose(f"{device.c_name}_state", f"{where} state", f"shared state of {where}", parts)
