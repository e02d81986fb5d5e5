"""The words a device is declared in.

A device is one class.  Its fields, registers, queues, state blocks and decline
reasons are class attributes, one line each; nothing here computes an offset.
`declaration.py` collects them, `layout.py` turns the declaration into offsets
and owns every check that needs one, `emit_c.py` and `view.py` print the result
for C and for Python.

    class Blk(Device, id=2, version=1):
        \"""virtio-blk (VIRTIO 1.2, section 5.2).\"""
        request = queue("requests", count=16, size=256)

        class Disk(Block, writer=USER):
            capacity = u64("disk size", unit="512-byte sectors")

Registers that come several times are an array, `reg(0x40, u32[8], "...")`, or a register file,
`regfile(0x100, Channel, "...", count=4, stride=0x20)`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from .declaration import Declaration, Declared, Undeclared
from .declaration import SchemaError as SchemaError
from .record import record


class Writer(enum.Enum):
    """The one side that writes a block; everybody reads it."""

    USER = "user"       # the Python half
    KERNEL = "kernel"   # the exit-path handler
    HOLDER = "holder"   # whichever side holds the queue at the time


class Access(enum.Enum):
    """What the guest may do with a register."""

    RO = "ro"
    RW = "rw"
    WO = "wo"
    W1C = "w1c"         # a write clears the bits that are one


class Takes(enum.Enum):
    """Who takes the guest's write of a register."""

    USER = "user"       # exits to the Python half
    POSTED = "posted"   # the kernel half stores it in the page; no exit
    NOTIFY = "notify"   # the device's kernel handler runs, and may decline


class Widths(enum.Enum):
    """What becomes of a write that is not of one whole register."""

    SPLIT = "split"     # every register that it touches is written, the lowest first
    EXACT = "exact"     # refused: it has no effect, and is logged


USER, KERNEL, HOLDER = Writer.USER, Writer.KERNEL, Writer.HOLDER
RO, RW, WO, W1C = Access.RO, Access.RW, Access.WO, Access.W1C
POSTED, NOTIFY = Takes.POSTED, Takes.NOTIFY
SPLIT, EXACT = Widths.SPLIT, Widths.EXACT

Values = type[enum.IntEnum]


class Bits(NamedTuple):
    """Some bits of a field or register, under a name of their own."""

    name: str
    low: int                        # the lowest of them
    width: int
    enum: Values | None = None      # of what they may say


BitsAt = int | tuple[int, int] | tuple[int, int, Values]    # a bit, or the lowest and how many


@record
class Type(Undeclared):
    """A field's type.  Calling it declares a field; indexing it makes a fixed array."""

    c_name: str                     # as C spells one element
    size: int                       # bytes of one element
    align: int                      # bytes
    signed: bool = False
    count: int | None = None        # elements, if an array
    enum: Values | None = None
    bits: tuple[Bits, ...] = ()     # named bit fields
    block: type[Block] | None = None    # the nested Block

    def __getitem__(self, count: int) -> Type:
        if self.count is not None:
            raise SchemaError(f"{self.c_name}[{self.count}]", f"an array of it, [{count!r}]", "an array of scalars")
        return replace(self, count=count)

    def __call__(self, doc: str, *, unit: str = "") -> Field:
        return Field(self, doc, unit)


@record
class Field(Declared):
    """One field of a block; its name is the attribute it is assigned to."""

    type: Type
    doc: str
    unit: str = ""


def _scalar(c_name: str, size: int, signed: bool = False) -> Type:
    return Type(c_name, size, size, signed)


u8, u16, u32, u64 = (_scalar(f"__u{8 * n}", n) for n in (1, 2, 4, 8))
i8, i16, i32, i64 = (_scalar(f"__s{8 * n}", n, True) for n in (1, 2, 4, 8))
le16, le32, le64 = (_scalar(f"__le{8 * n}", n) for n in (2, 4, 8))


def enum_of(base: Type, values: Values) -> Type:
    """`base` holding one of an IntEnum's values, which C sees under the same names."""
    return replace(base, enum=values)


def bits_of(base: Type, **named: BitsAt) -> Type:
    """`base` cut into named bit fields: `name=bit`, `name=(lowest bit, width)` or, with an IntEnum of
    what they may say, `name=(lowest bit, width, values)`."""
    return replace(base, bits=_bits(named))


def nested(block: type[Block]) -> Type:
    """Another Block in place; it must have no writer of its own."""
    return Type("", 0, 0, block=block)


def _bits(named: Mapping[str, BitsAt]) -> tuple[Bits, ...]:
    return tuple(Bits(name, *(at if isinstance(at, tuple) else (at, 1))) for name, at in named.items())


@record
class Register(Declared):
    """One register, or an array of them, of a device's pages.  `offset` and widths are in bytes; of a
    register in a register file, `offset` is from the start of that."""

    offset: int
    type: Type
    doc: str
    access: Access = RW
    takes: Takes = Takes.USER
    reset: int = 0
    bits: tuple[Bits, ...] = ()
    clears: str = ""            # a posted write clears these bits of that register instead
    read_effect: bool = False   # a read changes state, so the page cannot be guest memory
    interrupts: bool = False    # whoever takes a write of it, the device interrupts once it is done
    latches: tuple[str, ...] = ()   # of a doorbell: registers read together, once, before it is answered
    widths: Widths | None = None    # of this register, where they are not the device's
    halves: bool = False        # 8 bytes that are written as two times 4, the lower half first
    stride: int = 0             # bytes from one element of an array to the next; 0 if they touch


def reg(offset: int, type_: Type, doc: str, *, bits: Mapping[str, BitsAt] | None = None,
        latches: tuple[str, ...] = (), **options: Any) -> Register:
    """Declare a register, or an array of them: `reg(0x40, u32[8], "...", stride=16)`.

    `bits` is `{name: bit}`, `{name: (lowest bit, width)}` or `{name: (lowest bit, width, IntEnum)}`.
    `latches` names registers that are read, each once, before this doorbell is answered: both halves have what was
    read as `latched`.  Both are registers of the device itself, on its first page, and no arrays.  Options:

    - `access`: RW (default), RO, WO, or W1C, whose ones clear.
    - `takes`: without it, userspace; POSTED, stored without an exit; NOTIFY, the handler.
    - `reset`: the value that it begins with.
    - `clears="other"`: of a posted register, a write clears these bits of the other one, whoever holds the device.
      So both halves change that one by atomics alone: `set_bits()` in Python, `fetch_or()` in C.
    - `read_effect=True`: a read changes state, and exits.
    - `interrupts=True`: once a write of it is done, the device interrupts.
    - `widths`: SPLIT or EXACT, where it is not the device's.
    - `halves=True`: 8 bytes that may be written as two times 4, the lower half first.
    - `stride`: of an array, bytes from one element to the next.
    """
    unknown = set(options) - {each.name for each in fields(Register)}
    if unknown:
        raise SchemaError(f"reg({offset!r}, ...)", f"option {min(unknown)!r}", "access, takes, reset, bits, clears, "
                          "latches, read_effect, interrupts, widths, halves or stride")
    return Register(offset, type_, doc, bits=_bits(bits or {}) or getattr(type_, "bits", ()), latches=tuple(latches),
                    **options)


@record
class RegisterFileAt(Declared):
    """`count` register files of one kind, `stride` bytes apart, from `offset` on."""

    offset: int
    kind: type[RegisterFile]
    doc: str
    count: int | None = None    # None for a single one, which is no array
    stride: int = 0


def regfile(offset: int, kind: type[RegisterFile], doc: str, *, count: int | None = None,
            stride: int) -> RegisterFileAt:
    """Declare register files inside a device's pages, or inside another register file.  `stride` is how
    many bytes each takes.

    `channel = regfile(0x100, Channel, "...", count=4, stride=0x20)` with a doorbell `go` in it: Python takes its
    writes by `on_write_channel_go(index, value)`, and has the registers as `self.page.channel[i].go`; tests call it
    `"channel[2].go"`. In C `ON(DEVICE_CHANNEL_GO, go)` is for all of them, and `device->channel` which one it is."""
    return RegisterFileAt(offset, kind, doc, count, stride)


@record
class Memory(Declared):
    """Memory of the device's own, which guest and both halves read and write; bytes."""

    offset: int
    size: int
    doc: str
    pixels: tuple[int, int] | None = None       # of the picture that it begins with: how wide, how high


def memory(offset: int, size: int, doc: str, *, pixels: tuple[int, int] | None = None) -> Memory:
    """Declare device memory.  `offset` is from the device's base, behind its registers; both it and `size`
    are whole pages of 4096 bytes.

    `pixels=(width, height)`: it begins with a picture, row by row, each pixel 4 bytes, 0x00RRGGBB in
    little-endian order.  `splitvmm run` shows it (`--screenshot`, `--show`)."""
    return Memory(offset, size, doc, pixels)


@record
class Queue(Declared):
    """`count` virtqueues of at most `size` entries each (VIRTIO 1.2, 2.7)."""

    doc: str
    count: int = 1
    size: int = 256


def queue(doc: str, *, count: int = 1, size: int = 256) -> Queue:
    """Declare `count` virtqueues of at most `size` entries each, a power of two."""
    return Queue(doc, count, size)


def reasons(**named: str) -> dict[str, str]:
    """Decline reasons in order, `NAME="what it means"`; numbered from 1 after the common ones."""
    return dict(named)


class Block(metaclass=Declaration):
    """Fields that lie together.  `writer=` puts it on cache lines of its own in shared state;
    without one it is a plain struct, to be nested or to describe guest memory.

        class Counts(Block, writer=HOLDER):
            commands = u64("so many")

    in the body of `Meter` is `self.state.counts.commands` in Python, and `meter->state->counts.commands` in C. Python
    writes blocks of USER at any time, of HOLDER while it holds the device, as in an `on_write_`; C writes those of
    KERNEL and HOLDER, and has USER's as `const`."""


class RegisterFile(metaclass=Declaration):
    """Registers that come together, and several times perhaps: of each channel, say.  A device, or another
    register file, places them by `regfile(...)`."""


class Device(metaclass=Declaration):
    """A device: `class Blk(Device, id=2, version=1)`, with its spec section in the docstring.

    `id` is the virtio device number (0 for a device of one's own), `version` moves
    whenever the layout does.  `decline = reasons(...)` names why its handler may decline.

    `lock=False`: its handlers run on several vCPUs at once, and beside the Python half; without it they
    have the device to themselves.  A device with queues has a lock for each of them instead.
    `widths=` says what becomes of a write that is not of one whole register: SPLIT (default) or EXACT.
    `acpi="SVMM0001"` or `compatible="vendor,name"` is the name by which a guest finds it, and its driver.

    An IntEnum in its body is its own: C has its values under the device's name, `BLITTER_COMMAND_FILL`.
    Registers, memories, enums, reasons and the module's CONSTANTS share one namespace there.
    """

    decline: dict[str, str] = {}
