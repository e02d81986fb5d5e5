"""A whole device laid out: its registers, memory and shared state, its reasons to decline, and the hash
that says whether two builds of it agree."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from . import register_layout, virtqueue
from .announced import announced
from .digest import sha256
from .layout import MAX_REASONS, PAGE, BlockLayout, compose, in_order, layout_block
from .record import record
from .register_layout import PlacedRegister
from .schema import SPLIT, Bits, Block, Device, Field, Memory, Queue, SchemaError, Takes, Values, Widths

MOST_QUEUES = 64        # of one kind: more than any driver asks for, and state that fits


@record
class DeviceLayout:
    """Everything about one device; `page` describes its registers, `state` what is shared."""

    device: type[Device]
    c_name: str
    id: int
    version: int
    page: BlockLayout | None
    state: BlockLayout
    c_pages: tuple[BlockLayout, ...]    # as C has it, which reaches one page with each pointer
    registers: dict[str, PlacedRegister]
    memories: dict[str, Memory]
    queues: dict[str, Queue]
    reasons: Any        # an IntEnum
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

    @property
    def firsts(self) -> dict[str, PlacedRegister]:
        """Of each declared register the first, by its name as in `registers`; in order of declaration."""
        return {name: register for name, register in self.registers.items() if not any(register.indices)}

    @property
    def notify(self) -> dict[str, PlacedRegister]:
        """Declared name -> register, or the first of several, whose writes the handler takes."""
        return {register.declared: register for register in self.firsts.values() if register.takes is Takes.NOTIFY}

    @property
    def register_bytes(self) -> int:
        """Whole pages."""
        return self.page.size if self.page else 0

    @property
    def memory_bytes(self) -> int:
        """Of all device memory."""
        return sum(item.size for item in self.memories.values())

    @property
    def window(self) -> int:
        """Bytes of guest-physical memory from the device's base on: registers, then memory."""
        return max([self.register_bytes or PAGE, *(item.offset + item.size for item in self.memories.values())])

    @property
    def ports(self) -> int:
        """How many it takes from its base on, where its registers are ports."""
        return max((r.offset + r.type.size for r in self.registers.values()), default=0)

    def memory_places(self) -> dict[str, int]:
        """Where each memory lies in all of it, one after the other; bytes."""
        places, at = {}, 0
        for name, item in self.memories.items():
            places[name], at = at, at + item.size
        return places

    def structs(self) -> list[BlockLayout]:
        """Every struct this device needs, each after those that it contains."""
        return in_order([*self.c_pages, self.state])


# Devices

def _reasons(device: type[Device], common: dict[str, str]) -> type[enum.IntEnum]:
    named = {**common}
    if not isinstance(device.decline, dict):
        raise SchemaError(f"{device.__name__}.decline", f"{device.decline!r}", "reasons(NAME=\"what it means\")")
    for name, meaning in device.decline.items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise SchemaError(f"{device.__name__}.decline.{name}", f"reason {name!r}",
                              "upper-case letters, digits and underscores")
        if not (isinstance(meaning, str) and meaning.strip()):
            raise SchemaError(f"{device.__name__}.decline.{name}", f"{meaning!r}", "one line that says what it means")
        if name in named:
            raise SchemaError(f"{device.__name__}.decline.{name}", "a common reason's name",
                              "a name of its own")
        named[name] = meaning
    if len(named) >= MAX_REASONS:
        raise SchemaError(f"{device.__name__}.decline", f"{len(named)} reasons",
                          f"at most {MAX_REASONS - 1}, the common ones included")
    make: Any = enum.IntEnum        # checkers know it with literal names alone
    values = make(f"{device.c_name}_decline", list(named) or ["NONE"])
    for name, meaning in named.items():
        values[name].__doc__ = meaning
    return values


def _check_queue(where: str, queue: Queue) -> None:
    if not (type(queue.count) is int and 1 <= queue.count <= MOST_QUEUES):
        raise SchemaError(where, f"{queue.count!r} queues", f"1 to {MOST_QUEUES}")
    if not (type(queue.size) is int and 1 <= queue.size <= 32768 and queue.size & (queue.size - 1) == 0):
        raise SchemaError(where, f"{queue.size!r} entries", "a power of two, 1 to 32768 (VIRTIO 1.2, 2.7)")


def _hash(device: type[Device], blocks: list[BlockLayout], registers: dict[str, PlacedRegister],
          memories: dict[str, Memory], reasons: type[enum.IntEnum], locked: bool) -> int:
    text = [f"version {device.options['version']}{' locked' if locked else ''}", *_blocks_text(blocks)]
    text += [f"{name} {r.offset} {r.type.size} {r.access} {r.takes} {_bits_text(r.bits)} {r.clears} {r.latches}"
             f" {r.halves}{' interrupts' if r.interrupts else ''}" for name, r in registers.items()]
    text += [f"{name} {item.offset} {item.size}" for name, item in memories.items()]
    text += [f"{reason.name} {int(reason)}" for reason in reasons]
    text += [f"{values.__name__} {_enum_text(values)}" for values in own_enums(device)]
    return _digest(text)


def hash_of(roots: Iterable[BlockLayout]) -> int:
    """What says whether two builds agree about these structs, and all that they contain."""
    return _digest(_blocks_text(in_order(roots)))


def _digest(text: list[str]) -> int:
    return int.from_bytes(sha256("\n".join(text).encode()).digest()[:8], "little")


def _blocks_text(blocks: Iterable[BlockLayout]) -> list[str]:
    text = []
    for block in blocks:
        text.append(f"{block.c_name} {block.size} {block.align}")
        text += [f" {f.name} {f.offset} {f.size} {f.step} {f.type.c_name} {f.writer} {_bits_text(f.type.bits)}"
                 f" {_enum_text(f.type.enum)}" for f in block.fields]
    return text


def _bits_text(bits: tuple[Bits, ...]) -> str:
    return " ".join(f"{b.name}:{b.low}+{b.width}{_enum_text(b.enum)}" for b in bits)


def _enum_text(values: Values | None) -> str:
    return str([(value.name, int(value)) for value in values]) if values else ""


def own_enums(device: type[Device]) -> list[type[enum.IntEnum]]:
    """The IntEnums of a device's body, which C has under the device's name."""
    return [values for values in device.of_kind(type).values() if issubclass(values, enum.IntEnum)]


@cache
def layout_device(device: type[Device]) -> DeviceLayout:
    """Lay a Device out.  Raises SchemaError."""
    where, options = device.__name__, device.options
    for name in ("id", "version"):
        if not isinstance(options.get(name), int) or options[name] < (name == "version"):
            raise SchemaError(where, f"{name} {options.get(name)!r}",
                              "a whole number, as in `class Blk(Device, id=2, version=1)`")
    unknown = set(options) - {"id", "version", "lock", "widths", "acpi", "compatible"}
    if unknown:
        raise SchemaError(where, f"option {min(unknown)!r}",
                          "id=, version=, lock=, widths=, acpi= and compatible=")
    if not (device.__doc__ or "").strip():
        raise SchemaError(where, "no docstring", "one line with the specification's section")
    stray = device.of_kind(Field)
    if stray:
        raise SchemaError(f"{where}.{next(iter(stray))}", "a field outside a block",
                          "a register, or a field inside `class Name(Block, writer=...)`")
    queues, page = device.of_kind(Queue), register_layout.pages(device)
    c_pages = register_layout.c_pages(page) if page else []
    registers = register_layout.placed(device)
    memories = register_layout.memories(device, page.size if page else PAGE)
    if queues and memories:
        raise SchemaError(where, "memory, and queues", "one or the other: virtio devices have none of their own")
    for name, queue in queues.items():
        _check_queue(f"{where}.{name}", queue)
    locked, widths = _access_options(where, options, bool(queues))
    reasons = _reasons(device, virtqueue.COMMON_REASONS)
    state = _state(device, queues)
    blocks = in_order([*c_pages, state])
    return DeviceLayout(device, device.c_name, options["id"], options["version"], page, state,
                        tuple(c_pages), registers, memories, queues, reasons, locked, widths,
                        _hash(device, blocks, registers, memories, reasons, locked),
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


def _state(device: type[Device], queues: dict[str, Queue]) -> BlockLayout:
    where = device.__name__
    parts: list[tuple[str, BlockLayout, int | None, str]] = []
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
