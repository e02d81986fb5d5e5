"""Views know every field, and nothing else."""

import enum
import threading

import pytest

from vmm.devmodel import layout_block, layout_device
from vmm.devmodel.devices.virtio_mmio import VirtioMmio
from vmm.devmodel.schema import HOLDER, KERNEL, USER, Block, bits_of, enum_of, i16, i64, nested, u8, u16, u32, u64
from vmm.devmodel.view import (
    Array,
    OwnershipError,
    TornRead,
    address_of,
    ffi,
    read_together,
    struct_of,
    to_dict,
    view_of,
)


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


class Inner(Block):
    x = u16("a number")
    y = i16("a signed number")


class Mine(Block, writer=USER):
    wide = u64("a number")
    below = i64("a signed number")
    color = enum_of(u32, Color)("a colour")
    flags = bits_of(u16, low=0, mid=(4, 3))("some bits")
    small = u8[2]("two numbers")
    inner = nested(Inner)[2]("two of them")


class Theirs(Block, writer=KERNEL):
    sequence = u32("odd while written")
    value = u32("a number")
    other = u32("another")
    list = u32[3]("more")


class Ours(Block, writer=HOLDER):
    position = u16("where")


def at(block, held=None):
    layout = layout_block(block)
    raw = ffi.new("uint64_t[]", layout.size // 8 + 1)
    return view_of(layout)(int(ffi.cast("uintptr_t", raw)), raw, held), raw


def test_reads_back_what_is_written():
    view, raw = at(Mine)
    view.wide, view.below, view.color, view.flags_mid = 2**63, -5, Color.BLUE, 6
    view.small[1] = 9
    view.inner[1].y = -3
    assert (view.wide, view.below, view.color, view.flags) == (2**63, -5, Color.BLUE, 6 << 4)
    assert view.flags_low == 0 and view.flags_mid == 6
    assert list(view.small) == [0, 9] and view.inner[1].y == -3 and view.inner[0].y == 0
    assert to_dict(view)["inner"] == [{"x": 0, "y": 0}, {"x": 0, "y": -3}]
    assert raw[0] == 2**63


def test_value_that_does_not_fit():
    view, _ = at(Mine)
    with pytest.raises(OverflowError):
        view.color = 2**32
    with pytest.raises(ValueError):
        view.flags_mid = 8
    with pytest.raises(IndexError):
        view.small[2] = 1


def test_enum_value_nobody_declared_reads_as_number():
    view, _ = at(Mine)
    view.color = 7
    assert view.color == 7 and not isinstance(view.color, Color)


@pytest.mark.parametrize("misspelt", ["widee", "colour", "flags_lo", "address", "read"])
def test_misspelling(misspelt):
    view, _ = at(Mine)
    with pytest.raises(AttributeError):
        getattr(view, misspelt)
    with pytest.raises(AttributeError):
        setattr(view, misspelt, 1)


def test_refuses_what_the_kernel_writes():
    view, _ = at(Theirs)
    with pytest.raises(OwnershipError, match="value is written by the kernel half"):
        view.value = 1
    with pytest.raises(OwnershipError):
        view.list[0] = 1
    assert view.value == 0 and isinstance(view.list, Array) and view.list[0] == 0


def test_holder_fields_only_while_held():
    held = True
    view, _ = at(Ours, lambda: held)
    view.position = 3
    held = False
    with pytest.raises(OwnershipError, match="belongs to the holder"):
        view.position = 4
    assert view.position == 3


def test_consistent_read_while_a_writer_runs():
    """A writer keeps `other` equal to twice `value`, but not within one write."""
    view, raw = at(Theirs)
    words = ffi.cast("uint32_t *", raw)
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n = (n + 1) & 0xffff
            words[0] += 1
            words[1] = n
            words[2] = 2 * n
            words[0] += 1
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            value, other = read_together(view, "value", "other", tries=1_000_000)
            assert other == 2 * value
    finally:
        stop.set()
        writer.join()


def test_torn_read_is_an_error():
    view, raw = at(Theirs)
    ffi.cast("uint32_t *", raw)[0] = 1
    with pytest.raises(TornRead):
        read_together(view, "value", tries=10)
    with pytest.raises(KeyError):
        read_together(at(Mine)[0], "wide")


def test_struct_of_agrees_with_the_view():
    view, raw = at(Mine)
    view.wide, view.below, view.inner[0].x = 5, -6, 7
    values = struct_of(layout_block(Mine)).unpack_from(ffi.buffer(raw))
    assert values[:2] == (5, -6) and 7 in values


def test_misplaced_view():
    view, _raw = at(Mine)
    with pytest.raises(ValueError, match="multiple of 8"):
        view_of(layout_block(Mine))(address_of(view) + 1)


def test_register_page_bits():
    layout = layout_device(VirtioMmio)
    raw = ffi.new("uint64_t[]", 512)
    page = view_of(layout.page)(int(ffi.cast("uintptr_t", raw)), raw)
    page.status_driver_ok = 1
    assert page.status == 4
