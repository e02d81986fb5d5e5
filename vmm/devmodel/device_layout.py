"""A whole device laid out: its register page, its shared state, its reasons to decline, and the hash
that says whether two builds of it agree."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from . import virtqueue
from .announced import announced
from .layout import (MAX_REASONS, PAGE, SCALARS, BlockLayout, FieldLayout, check_bits, compose, in_order, layout_block,
                     reserve)
from .schema import SPLIT, Access, Block, Field, Queue, Register, SchemaError, Takes, Type, Widths


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
    locked: bool        # handlers and the Python half have the device to themselves
    widths: Widths
    hash: int
    acpi: str = ""           # its _HID, or what it is `compatible` with: how a guest's firmware
    compatible: str = ""     # announces it, if at all

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
    if register.access is Access.RO and register.interrupts:
        raise SchemaError(where, "interrupts=True but read-only", "a register that is written")
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
    check_bits(where, register.bits, width)


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
        reserve(fields, offset, register.offset - offset)
        fields.append(FieldLayout(name, register.offset, register.type.size,
                                  replace(register.type, bits=register.bits), register.doc))
        offset, before = register.offset + register.type.size, name
    reserve(fields, offset, PAGE - offset)
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


def _hash(blocks, registers, reasons, version, locked) -> int:
    text = [f"version {version}{' locked' if locked else ''}"]
    for block in blocks:
        text.append(f"{block.c_name} {block.size} {block.align}")
        text += [f" {f.name} {f.offset} {f.size} {f.type.c_name} {f.writer} {f.type.bits}"
                 f" {[(v.name, int(v)) for v in f.type.enum] if f.type.enum else ''}"
                 for f in block.fields]
    text += [f"{name} {r.offset} {r.type.size} {r.access} {r.takes} {r.bits} {r.clears}"
             f"{' interrupts' if r.interrupts else ''}"
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
    unknown = set(options) - {"id", "version", "lock", "widths", "acpi", "compatible"}
    if unknown:
        raise SchemaError(where, f"option {sorted(unknown)[0]!r}",
                          "id=, version=, lock=, widths=, acpi= and compatible=")
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
    locked, widths = _access_options(where, options, bool(queues))
    reasons = _reasons(device, virtqueue.COMMON_REASONS)
    state = _state(device, queues)
    blocks = in_order([block for block in (page, state) if block])
    return DeviceLayout(device, device.c_name, options["id"], options["version"], page, state,
                        registers, queues, reasons, locked, widths,
                        _hash(blocks, registers, reasons, options["version"], locked),
                        *announced(where, options, bool(queues)))


def _access_options(where: str, options: dict, has_queues: bool) -> tuple[bool, Widths]:
    """How the guest's accesses are dealt with."""
    locked, widths = options.get("lock", not has_queues), options.get("widths", SPLIT)
    if not isinstance(locked, bool):
        raise SchemaError(where, f"lock {locked!r}", "True or False")
    if locked and has_queues:
        raise SchemaError(where, "lock=True, and queues", "one or the other, as each queue has a lock of its own")
    if not isinstance(widths, Widths):
        raise SchemaError(where, f"widths {widths!r}", "SPLIT or EXACT")
    return locked, widths


def _state(device: type, queues: dict[str, Queue]) -> BlockLayout:
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
