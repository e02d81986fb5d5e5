"""Every mistake in a schema names class and field, what was found, and what was wanted."""

import enum

import pytest

from vmm.devmodel import SchemaError, layout_block, layout_device
from vmm.devmodel.schema import (HOLDER, KERNEL, NOTIFY, POSTED, RO, USER, W1C, Block, Device, bits_of, enum_of, i8,
                                 nested, queue, reasons, reg, u8, u16, u32, u64)


class Big(enum.IntEnum):
    HUGE = 300


def device(**body):
    """A device class made of these declarations."""
    options = body.pop("options", {"id": 0, "version": 1})
    namespace = type(Device).__prepare__("Dev", (Device,))
    namespace["__doc__"] = body.pop("doc", "A device.")
    namespace["__qualname__"] = "Dev"
    for name, value in body.items():
        namespace[name] = value
    return type(Device)("Dev", (Device,), namespace, **options)


def block(writer=USER, **fields):
    namespace = type(Block).__prepare__("Blk", (Block,))
    namespace["__qualname__"] = "Blk"
    for name, value in fields.items():
        namespace[name] = value
    return type(Block)("Blk", (Block,), namespace, **({"writer": writer} if writer else {}))


BLOCKS = {
    "misaligned": (lambda: block(a=u8("x"), b=u32("y")), "Blk.b", "add 3 bytes"),
    "tail": (lambda: block(a=u32("x"), b=u8("y")), "Blk.b", "add 3 bytes"),
    "empty": (lambda: block(), "Blk", "at least one"),
    "no meaning": (lambda: block(a=u32("")), "Blk.a", "one line"),
    "enum too big": (lambda: block(a=enum_of(u8, Big)("x")), "Blk.a", "Big.HUGE = 300"),
    "enum negative range": (lambda: block(a=enum_of(i8, Big)("x")), "Blk.a", "-128 to 127"),
    "no enum": (lambda: block(a=enum_of(u8, int)("x")), "Blk.a", "IntEnum"),
    "array of none": (lambda: block(a=u32[0]("x")), "Blk.a", "1 or more"),
    "bits overlap": (lambda: block(a=bits_of(u8, low=(0, 2), mid=1)("x")), "Blk.a.mid", "which low has"),
    "bits outside": (lambda: block(a=bits_of(u8, top=8)("x")), "Blk.a.top", "inside 0 to 7"),
    "bit name": (lambda: block(a=bits_of(u8, Top=1)("x")), "Blk.a.Top", "lower-case"),
    "unknown writer": (lambda: block(writer="me", a=u32("x")), "Blk", "USER, KERNEL or HOLDER"),
    "nested with writer": (lambda: block(a=nested(block(b=u32("x")))("y")), "Blk.a", "writer of its own"),
    "nested no block": (lambda: block(a=nested(int)("y")), "Blk.a", "a Block"),
    "keyword": (lambda: block(register=u32("x")), "Blk.register", "no keyword"),
    "upper case": (lambda: block(Value=u32("x")), "Blk.Value", "lower-case"),
}


@pytest.mark.parametrize("make, where, says", BLOCKS.values(), ids=BLOCKS)
def test_block_mistakes(make, where, says):
    with pytest.raises(SchemaError) as error:
        layout_block(make())
    assert error.value.where == where
    assert says in str(error.value)


DEVICES = {
    "overlap": (dict(a=reg(0, u32, "x"), b=reg(2, u16, "y")), "Dev.b", "inside a"),
    "register misaligned": (dict(a=reg(2, u32, "x")), "Dev.a", "a multiple of its width"),
    "register outside": (dict(a=reg(4096, u32, "x")), "Dev.a", "inside 0x1000"),
    "register type": (dict(a=reg(0, u32[2], "x")), "Dev.a", "one scalar"),
    "register meaning": (dict(a=reg(0, u32, " ")), "Dev.a", "one line"),
    "posted read-only": (dict(a=reg(0, u32, "x", access=RO, takes=POSTED)), "Dev.a", "read-only"),
    "notify read-only": (dict(a=reg(0, u32, "x", access=RO, takes=NOTIFY)), "Dev.a", "read-only"),
    "unknown access": (dict(a=reg(0, u32, "x", access="any")), "Dev.a", "RO, RW, WO or W1C"),
    "unknown taker": (dict(a=reg(0, u32, "x", takes="me")), "Dev.a", "USER, POSTED or NOTIFY"),
    "reset too big": (dict(a=reg(0, u8, "x", reset=256)), "Dev.a", "fits 1 bytes"),
    "register bits": (dict(a=reg(0, u8, "x", bits={"top": 9})), "Dev.a.top", "inside 0 to 7"),
    "clears unknown": (dict(a=reg(0, u32, "x", takes=POSTED, clears="b")), "Dev.a", "one of a"),
    "clears not posted": (dict(a=reg(0, u32, "x", clears="a")), "Dev.a", "takes=POSTED"),
    "clears narrow": (dict(a=reg(0, u16, "x", takes=POSTED, clears="a")), "Dev.a", "u32 on both"),
    "w1c narrow": (dict(a=reg(0, u16, "x", takes=POSTED, access=W1C)), "Dev.a", "u32"),
    "interrupts read-only": (dict(a=reg(0, u32, "x", access=RO, interrupts=True)), "Dev.a", "a register that is written"),
    "odd lock": (dict(options={"id": 1, "version": 1, "lock": "no"}), "Dev", "True or False"),
    "lock and queues": (dict(q=queue("x"), options={"id": 1, "version": 1, "lock": True}), "Dev", "each queue"),
    "odd widths": (dict(options={"id": 1, "version": 1, "widths": 4}), "Dev", "SPLIT or EXACT"),
    "queue size": (dict(q=queue("x", size=100)), "Dev.q", "a power of two"),
    "queue count": (dict(q=queue("x", count=0)), "Dev.q", "1 or more"),
    "stray field": (dict(a=u32("x")), "Dev.a", "inside `class"),
    "no docstring": (dict(doc=""), "Dev", "specification's section"),
    "no version": (dict(options={"id": 1}), "Dev", "a whole number"),
    "unknown option": (dict(options={"id": 1, "version": 1, "size": 3}), "Dev", "widths=, acpi= and compatible="),
    "reason again": (dict(decline=reasons(BUSY="x")), "Dev.decline.BUSY", "a name of its own"),
    "reason lower case": (dict(decline=reasons(odd="x")), "Dev.decline.odd", "upper case"),
    "too many reasons": (dict(decline=reasons(**{f"R{i}": "x" for i in range(20)})), "Dev.decline", "at most 23"),
    "block without writer": (dict(State=block(writer=None, a=u32("x"))), "Dev.Blk", "writer=USER"),
}


@pytest.mark.parametrize("body, where, says", DEVICES.values(), ids=DEVICES)
def test_device_mistakes(body, where, says):
    with pytest.raises(SchemaError) as error:
        layout_device(device(**dict(body)))
    assert error.value.where == where
    assert says in str(error.value)


def test_declared_twice():
    with pytest.raises(SchemaError, match="Twice.a: declared twice"):
        class Twice(Block, writer=KERNEL):
            a = u32("x")
            a = u32("y")    # noqa: PIE794


def test_good_schema_lays_out_in_order():
    class Good(Device, id=1, version=3):
        """A device."""
        second = reg(4, u32, "later")
        first = reg(0, u16, "sooner")

        class Config(Block, writer=USER):
            a = u64("x")
            b = i8("y")
            reserved = u8[7]("z")

        class Where(Block, writer=HOLDER):
            c = u16("x")

    layout = layout_device(Good)
    assert [f.name for f in layout.page.fields if not f.reserved] == ["first", "second"]
    assert layout.page.size == 4096
    assert layout.version == 3
    config, where = layout.state.field("config"), layout.state.field("where")
    assert config.offset % 64 == 0 and where.offset % 64 == 0 and where.offset >= config.offset + 64


def test_hash_moves_with_the_layout():
    def make(kind):
        return layout_device(device(Config=block(a=kind("x")))).hash
    assert make(u32) == make(u32) != make(u64)
