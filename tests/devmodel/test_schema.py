"""Every mistake in a schema names class and field, what was found, and what was wanted."""

import enum

import pytest

from vmm.devmodel import SchemaError, layout_block, layout_device
from vmm.devmodel.headers import device_header
from vmm.devmodel.schema import (
    HOLDER,
    KERNEL,
    NOTIFY,
    POSTED,
    RO,
    USER,
    W1C,
    WO,
    Block,
    Device,
    RegisterFile,
    bits_of,
    enum_of,
    i8,
    memory,
    nested,
    queue,
    reasons,
    reg,
    regfile,
    u8,
    u16,
    u32,
    u64,
)


class Big(enum.IntEnum):
    HUGE = 300


class Channel(RegisterFile):
    length = reg(0, u32, "x")
    start = reg(8, u32, "y", access=WO, takes=NOTIFY)


class Latching(RegisterFile):
    length = reg(0, u32, "x")
    go = reg(8, u32, "y", takes=NOTIFY, latches=("length",))


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
    "empty": (block, "Blk", "at least one"),
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
    "register outside": (dict(a=reg(0x10000, u32, "x")), "Dev.a", "inside 0x10000"),
    "register type": (dict(a=reg(0, nested(block(writer=None, a=u32("x"))).block, "x")), "Dev.a", "one scalar"),
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
    "interrupts read-only": (dict(a=reg(0, u32, "x", access=RO, interrupts=True)), "Dev.a",
                             "a register that is written"),
    "odd lock": (dict(options={"id": 1, "version": 1, "lock": "no"}), "Dev", "True or False"),
    "lock and queues": (dict(q=queue("x"), options={"id": 1, "version": 1, "lock": True}), "Dev", "each queue"),
    "odd widths": (dict(options={"id": 1, "version": 1, "widths": 4}), "Dev", "SPLIT or EXACT"),
    "queue size": (dict(q=queue("x", size=100)), "Dev.q", "a power of two"),
    "queue count": (dict(q=queue("x", count=0)), "Dev.q", "1 to 64"),
    "stray field": (dict(a=u32("x")), "Dev.a", "inside `class"),
    "no docstring": (dict(doc=""), "Dev", "specification's section"),
    "no version": (dict(options={"id": 1}), "Dev", "a whole number"),
    "unknown option": (dict(options={"id": 1, "version": 1, "size": 3}), "Dev", "widths=, acpi= and compatible="),
    "reason again": (dict(decline=reasons(BUSY="x")), "Dev.decline.BUSY", "a name of its own"),
    "reason lower case": (dict(decline=reasons(odd="x")), "Dev.decline.odd", "upper-case letters"),
    "too many reasons": (dict(decline=reasons(**{f"R{i}": "x" for i in range(20)})), "Dev.decline", "at most 23"),
    "array stride": (dict(a=reg(0, u32[2], "x", stride=6)), "Dev.a", "a multiple of its width"),
    "stride of one": (dict(a=reg(0, u32, "x", stride=8)), "Dev.a", "an array"),
    "array of none": (dict(a=reg(0, u32[0], "x")), "Dev.a", "1 or more"),
    "register enum": (dict(a=reg(0, enum_of(u8, Big), "x")), "Dev.a", "Big.HUGE = 300"),
    "bits enum": (dict(a=reg(0, u32, "x", bits={"b": (0, 4, Big)})), "Dev.a.b", "Big.HUGE = 300"),
    "no register file": (dict(a=regfile(0, Block, "x", stride=16)), "Dev.a", "derived from RegisterFile"),
    "file too long": (dict(a=regfile(0, Channel, "x", stride=8)), "Dev.a.start",
                      "an end at 0x8, the stride, or before"),
    "file inside": (dict(a=regfile(0, Channel, "x", count=2, stride=16), b=reg(0x18, u32, "y")), "Dev.b",
                    "0x20 or more"),
    "file misplaced": (dict(a=regfile(4, Channel, "x", stride=16)), "Dev.a", "multiples of 8"),
    "file across pages": (dict(a=regfile(0, Channel, "x", count=200, stride=24)), "Dev.a", "whole elements"),
    "clears across pages": (dict(a=reg(0, u32, "x", takes=POSTED, clears="b"), b=reg(4096, u32, "y")), "Dev.a",
                            "both on one page"),
    "too many routed": (dict(a=reg(0, u32[600], "x", takes=POSTED)), "Dev", "at most 512"),
    "latches unknown": (dict(a=reg(0, u32, "x", takes=NOTIFY, latches=("b",))), "Dev.a", "names of registers"),
    "latches without doorbell": (dict(a=reg(0, u32, "x", latches=("a",))), "Dev.a", "takes=NOTIFY"),
    "latches in a file": (dict(a=regfile(0, Latching, "x", stride=16)), "Dev.a.go", "of the device itself"),
    "halves of four bytes": (dict(a=reg(0, u32, "x", halves=True)), "Dev.a", "8 bytes that is written"),
    "register widths": (dict(a=reg(0, u32, "x", widths=4)), "Dev.a", "SPLIT or EXACT"),
    "memory over registers": (dict(a=reg(0, u32, "x"), m=memory(0, 4096, "y")), "Dev.m", "0x1000 or more"),
    "memory cut": (dict(a=reg(0, u32, "x"), m=memory(4096, 100, "y")), "Dev.m", "whole pages"),
    "memory too large": (dict(a=reg(0, u32, "x"), m=memory(4096, 1 << 29, "y")), "Dev.m", "at most"),
    "pixels outside": (dict(a=reg(0, u32, "x"), m=memory(4096, 4096, "y", pixels=(33, 32))), "Dev.m",
                       "it inside the memory"),
    "pixels of no kind": (dict(a=reg(0, u32, "x"), m=memory(4096, 4096, "y", pixels=(0, 32))), "Dev.m",
                          "(width, height), whole numbers above 0"),
    "offset of no number": (dict(a=reg("0", u32, "x")), "Dev.a", "offset '0'; wanted a whole number"),
    "reset of no number": (dict(a=reg(0, u32, "x", reset="1")), "Dev.a", "a whole number"),
    "stride of no number": (dict(a=reg(0, u32[2], "x", stride=8.0)), "Dev.a", "a whole number"),
    "clears of no name": (dict(a=reg(0, u32, "x", clears=3)), "Dev.a", "another register's name"),
    "memory of no number": (dict(a=reg(0, u32, "x"), m=memory(4096, 4096.0, "y")), "Dev.m", "a whole number"),
    "queues of no number": (dict(q=queue("x", size="8")), "Dev.q", "a power of two"),
    "too many queues": (dict(q=queue("x", count=1000)), "Dev.q", "1 to 64"),
    "no reasons": (dict(a=reg(0, u32, "x"), decline=["A"]), "Dev.decline", "reasons("),
    "a reason without meaning": (dict(a=reg(0, u32, "x"), decline={"A": 1}), "Dev.decline.A", "what it means"),
    "a reason of two words": (dict(a=reg(0, u32, "x"), decline={"A B": "x"}), "Dev.decline.A B", "upper-case letters"),
    "memory and queues": (dict(q=queue("x"), m=memory(4096, 4096, "y")), "Dev", "virtio devices have none"),
    "two of one name": (dict(a=regfile(0, Channel, "x", stride=16), a_start=reg(16, u32, "y")), "Dev.a.start",
                        "a name of its own"),
    "bits called as a register": (dict(a=reg(0, u32, "x", bits={"b": 0}), a_b=reg(4, u32, "y")), "Dev.a.b",
                                  "a name of their own"),
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


CLASHES = {
    "a register and the version": (dict(version=reg(0, u32, "x")), "DEV_VERSION in C twice"),
    "a register and a reason": (dict(decline_odd=reg(0, u32, "x"), decline=reasons(ODD="y")),
                                "DEV_DECLINE_ODD in C twice"),
    "a block and the state": (dict(State=block(a=u32("x"))), None),
    "bits and a register": (dict(a=reg(0, u32, "x", bits={"b": (0, 2)}), A_B=0, a_stride=reg(8, u32[2], "z"),
                                 a_stride_count=reg(16, u32, "y")), "DEV_A_STRIDE_COUNT in C twice"),
}


@pytest.mark.parametrize("body, says", CLASHES.values(), ids=CLASHES)
def test_names_that_c_would_see_twice(body, says):
    made = device(**dict(body))
    if says is None:
        assert device_header(made, "here")
        return
    with pytest.raises(SchemaError, match=says):
        device_header(made, "here")


def test_registers_of_files_and_arrays_have_names_and_places():
    class Inner(RegisterFile):
        head = reg(0, u16, "x")
        tail = reg(2, u16[3], "y", stride=4)

    class Outer(RegisterFile):
        ring = regfile(0x10, Inner, "rings", count=2, stride=0x10)
        go = reg(0, u32, "z", takes=NOTIFY)

    class Many(Device, id=0, version=1):
        """A device."""
        port = regfile(0x1000, Outer, "ports", count=4, stride=0x40)
        table = reg(0x20, u64[4], "numbers", reset=7)

    layout = layout_device(Many)
    assert layout.register_bytes == 0x2000 and len(layout.registers) == 4 + 4 * (1 + 2 * 4)
    names = ("table[3]", "port[3].go", "port[2].ring[1].tail[2]")
    assert {name: hex(layout.registers[name].offset) for name in names} == {
        "table[3]": "0x38", "port[3].go": "0x10c0", "port[2].ring[1].tail[2]": "0x10aa"}
    found = layout.registers["port[2].ring[1].tail[2]"]
    assert (found.declared, found.indices) == ("port_ring_tail", (2, 1, 2))
    assert list(layout.notify) == ["port_go"]
    assert [block.c_name for block in layout.c_pages] == ["many_page", "many_page1"]
