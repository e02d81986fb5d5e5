"""The display without a guest: registers, planes, modes and their pictures; and whatever a guest may write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.devmodel.exit_path import Bus
from vmm.kvm.addresses import PCI_LOW, VBE_PORTS, VGA_PORTS, VGA_WINDOW
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.vga import vbe
from vmm.vga.planes import WINDOW_BYTES, Planes
from vmm.vga.registers import Registers
from vmm.vga.vbe import Vbe
from vmm.vga.vga import MEMORY_BYTES

SEQUENCER, GRAPHICS, CRTC = 0x3c4, 0x3ce, 0x3d4


@pytest.fixture(scope="module")
def machine():
    with Machine(MachineConfig(memory=2 << 20, serial="null", kvm=False, vga="std")) as machine:
        machine.buses[Bus.MMIO].add(PCI_LOW + (40 << 20), 4096, None, "another device")
        yield machine


def out(machine, port, value, width=1):
    machine.guest_write(Bus.PORT, port, width, value)


def into(machine, port, width=1):
    return machine.guest_read(Bus.PORT, port, width)


def set_vbe(machine, **registers):
    for name, value in registers.items():
        out(machine, VBE_PORTS, getattr(vbe, name), 2)
        out(machine, VBE_PORTS + 1, value, 2)


def get_vbe(machine, index):
    out(machine, VBE_PORTS, index, 2)
    return into(machine, VBE_PORTS + 2, 2)


def indexed(machine, port, *values):
    """Registers 0, 1, ... behind an index at a port, 16 bits at a time."""
    for i, value in enumerate(values):
        out(machine, port, value << 8 | i, 2)


def attributes(machine, *values):
    into(machine, 0x3da)
    for i, value in enumerate(values):
        out(machine, 0x3c0, i)
        out(machine, 0x3c0, value)
    out(machine, 0x3c0, 0x20)


def colour(machine, number, *parts):
    out(machine, 0x3c8, number)
    for part in parts:
        out(machine, 0x3c9, part)


def fresh(machine):
    set_vbe(machine, ENABLE=0)
    indexed(machine, SEQUENCER, 3, 1, 15, 0, 2)
    out(machine, CRTC, 0x0011, 2)


def crtc(machine, width, lines, pitch, doubled=0, character_height=1):
    out(machine, CRTC, 0x0011, 2)
    for index, value in ((1, width // 8 - 1), (7, (lines - 1 >> 8 & 1) << 1 | (lines - 1 >> 9 & 1) << 6),
                         (9, character_height - 1 | doubled << 7), (0x0a, 0x20), (0x0c, 0), (0x0d, 0),
                         (0x12, lines - 1 & 0xff), (0x13, pitch // 2)):
        out(machine, CRTC, value << 8 | index, 2)


def test_linear_modes(machine):
    fresh(machine)
    set_vbe(machine, WIDTH=640, HEIGHT=480, BITS=32, ENABLE=vbe.ENABLED, BANK=3)
    machine.guest_write(Bus.MMIO, VGA_WINDOW + 8, 4, 0x00112233)
    frame = machine.vga.frame()
    assert (frame.width, frame.height, frame.format) == (640, 480, "BGRX")
    assert frame.pixels[3 * WINDOW_BYTES + 8:][:4] == b"\x33\x22\x11\0"
    set_vbe(machine, VIRTUAL_WIDTH=1024, Y=48)      # where bank 3 begins
    assert machine.vga.frame().pixels[8:12] == b"\x33\x22\x11\0"


def test_frame_buffer(machine):
    """It has a place without a BIOS, too, and is moved; where something else is, it is switched off."""
    function, fresh_at = machine.vga.function, PCI_LOW + (64 << 20)
    assert function.base == PCI_LOW
    machine.guest_write(Bus.MMIO, PCI_LOW + 4, 4, 0x01020304)
    for base, found in ((fresh_at, 0x01020304), (PCI_LOW + (32 << 20), 0xffffffff), (PCI_LOW, 0x01020304)):
        machine.pci.write(function.number, 0, 0x10, 4, base)
        assert machine.guest_read(Bus.MMIO, base + 4, 4) == found
    assert bytes(machine.vga.memory[4:8]) == b"\4\3\2\1"


def test_enabling_clears_unless_told_otherwise(machine):
    fresh(machine)
    machine.vga.memory[5] = 1
    set_vbe(machine, WIDTH=640, HEIGHT=480, BITS=8, ENABLE=vbe.ENABLED | vbe.KEEP_MEMORY)
    assert machine.vga.frame().pixels[5] == 1
    set_vbe(machine, ENABLE=0)
    set_vbe(machine, ENABLE=vbe.ENABLED)
    assert machine.vga.memory[5] == 0


def test_limits_are_told(machine):
    fresh(machine)
    set_vbe(machine, ENABLE=vbe.GET_LIMITS)
    assert [get_vbe(machine, i) for i in (vbe.WIDTH, vbe.HEIGHT, vbe.BITS)] == [2560, 1600, 32]
    assert get_vbe(machine, vbe.MEMORY) == MEMORY_BYTES >> 16 and get_vbe(machine, vbe.ID) == vbe.NEWEST_ID


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 0xffff) | st.sampled_from((0, 1, 4, 8, 24, 32))),
                max_size=40))
def test_what_is_shown_lies_in_memory(writes):
    display = Vbe(1 << 20)
    for index, value in [*writes, (vbe.ENABLE, vbe.ENABLED)]:
        display.select(index)
        display.write(value)
    line = display[vbe.WIDTH] * display.pixel_bytes if display[vbe.BITS] > 4 else display[vbe.WIDTH] // 8
    memory = 1 << (20 if display[vbe.BITS] > 4 else 18)
    assert display.start + (display[vbe.HEIGHT] - 1) * display.pitch + line <= memory
    assert (display[vbe.BANK] + 1) * vbe.BANK_BYTES <= 1 << 20 and display[vbe.BITS] in vbe.DEPTHS


def test_256_colours(machine):
    """As mode 0x13: 320 by 200, each line twice."""
    fresh(machine)
    indexed(machine, SEQUENCER, 3, 1, 15, 0, 0x0e)
    indexed(machine, GRAPHICS, 0, 0, 0, 0, 0, 0x40, 5, 15, 0xff)
    crtc(machine, 640, 400, 80, character_height=2)
    colour(machine, 7, 63, 0, 32)
    machine.guest_write(Bus.MMIO, VGA_WINDOW + 321, 2, 0x0707)
    frame = machine.vga.frame()
    assert (frame.width, frame.height) == (320, 200) and frame.palette[21:24] == b"\xff\0\x82"
    assert [i for i, pixel in enumerate(frame.pixels[:640]) if pixel == 7] == [321, 322]


def test_16_colours(machine):
    """As mode 0x12: 640 by 480, a bit of each plane a pixel."""
    fresh(machine)
    indexed(machine, SEQUENCER, 3, 1, 15, 0, 6)
    indexed(machine, GRAPHICS, 0, 0, 0, 0, 0, 0, 5, 15, 0xff)
    crtc(machine, 640, 480, 80)
    attributes(machine, *range(16), 1)
    for at in range(0, WINDOW_BYTES, 8):
        machine.guest_write(Bus.MMIO, VGA_WINDOW + at, 8, 0)
    out(machine, SEQUENCER, 5 << 8 | 2, 2)      # planes 0 and 2
    machine.guest_write(Bus.MMIO, VGA_WINDOW + 80, 1, 0b10000001)
    frame = machine.vga.frame()
    assert (frame.width, frame.height) == (640, 480)
    assert {i: pixel for i, pixel in enumerate(frame.pixels) if pixel} == {640: 5, 647: 5}


def test_characters(machine):
    fresh(machine)
    indexed(machine, SEQUENCER, 3, 0, 4, 0, 6)      # nine pixels wide, plane 2
    indexed(machine, GRAPHICS, 0, 0, 0, 0, 2, 0, 4, 15, 0xff)
    machine.guest_write(Bus.MMIO, VGA_WINDOW + 32 * ord("A") + 1, 1, 0b01000000)
    machine.guest_write(Bus.MMIO, VGA_WINDOW + 32 * 0xc4 + 2, 1, 0xff)
    indexed(machine, GRAPHICS, 0, 0, 0, 0, 0, 0x10, 14, 15, 0xff)
    crtc(machine, 640, 400, 80, character_height=16)
    attributes(machine, *range(16), 0x0c)           # lines are joined, attributes blink
    machine.memory.write(0xb8000, bytes(32 << 10))
    machine.memory.write(0xb8000, b"A\x2eB\x07\xc4\x8f\x1b\x07")
    assert machine.vga.text() == ["AB─←"] + [""] * 24       # nothing that a terminal would act on
    frame = machine.vga.frame()
    assert (frame.width, frame.height) == (720, 400)
    assert frame.pixels[720:729] == b"\2\x0e\2\2\2\2\2\2\2"
    assert frame.pixels[2 * 720 + 18:][:9] == b"\x0f" * 9      # blinking is no colour
    out(machine, CRTC, 13 << 8 | 0x0a, 2)
    out(machine, CRTC, 14 << 8 | 0x0b, 2)
    out(machine, CRTC, 1 << 8 | 0x0f, 2)
    assert machine.vga.frame().pixels[13 * 720 + 9:][:9] == b"\7" * 9


@pytest.mark.parametrize("registers, mode, value, found", [
    ({3: 4}, 0, 0b00110001, (0x13,) * 4),                   # rotated by 4
    ({3: 0x18}, 0, 0xff, (0xfe, 0xfd, 0xfb, 0xf7)),         # exclusive or with what was latched
    ({0: 5, 1: 15}, 0, 0, (0xff, 0, 0xff, 0)),              # set and reset
    ({}, 1, 0, (1, 2, 4, 8)),                               # what was latched
    ({8: 0xf0}, 2, 0b1010, (0x01, 0xf2, 0x04, 0xf8)),       # a colour, by the bit mask
    ({0: 15, 8: 0x3c}, 3, 0x18, (0x19, 0x1a, 0x1c, 0x18)),  # data are a bit mask as well
])
def test_write_modes(registers, mode, value, found):
    memory, state = memoryview(bytearray(4 * WINDOW_BYTES)), Registers()
    planes = Planes(state, memory)
    memory[:4] = bytes((1, 2, 4, 8))
    state.sequencer[2], state.graphics[8] = 15, 0xff
    for index, wanted in registers.items():
        state.graphics[index] = wanted
    state.graphics[5] = mode
    planes.read(0)
    planes.write(1, value)
    assert tuple(memory[4:8]) == found


def test_colours_are_compared():
    memory, state = memoryview(bytearray(4 * WINDOW_BYTES)), Registers()
    memory[:4] = bytes((0xf0, 0, 0xff, 0))
    state.graphics[5], state.graphics[2], state.graphics[7] = 8, 0b0101, 0b1011     # plane 2 does not care
    assert Planes(state, memory).read(0) == 0xf0


def test_protected_registers(machine):
    out(machine, CRTC, 0x8011, 2)
    out(machine, CRTC, 0x5501, 2)
    out(machine, CRTC, 0xff07, 2)
    out(machine, CRTC, 1)
    assert into(machine, 0x3d5) != 0x55
    out(machine, CRTC, 7)
    assert into(machine, 0x3d5) & 0x10
    assert into(machine, 0x3b5) == into(machine, 0x3d5)      # the same one at both places


PORTS = st.integers(0x3b0, 0x3bb) | st.integers(VGA_PORTS, 0x3df) | st.integers(VBE_PORTS, VBE_PORTS + 3)
ACCESSES = st.lists(st.tuples(
    st.booleans(), st.tuples(st.just(Bus.PORT), PORTS) |
    st.tuples(st.just(Bus.MMIO), st.integers(VGA_WINDOW, VGA_WINDOW + WINDOW_BYTES - 8)),
    st.sampled_from((1, 2, 4)), st.integers(0, 0xffffffff) | st.integers(0, 0x20)), max_size=60)


@given(accesses=ACCESSES)
def test_whatever_a_guest_does(machine, accesses):
    for writes, (bus, address), width, value in accesses:
        if writes:
            machine.guest_write(bus, address, width, value & (1 << 8 * width) - 1)
        else:
            assert 0 <= machine.guest_read(bus, address, width) < 1 << 8 * width
    check(machine.vga)


def check(display):
    """Any mode has a picture of its size."""
    frame = display.frame()
    bits = {"P": 8, "BGR;15": 16, "BGR;16": 16, "BGR": 24, "BGRX": 32}[frame.format]
    assert frame.width > 0 < frame.height and len(frame.pixels) * 8 == frame.width * frame.height * bits
    assert len(frame.palette) == 768
    display.text()


@given(st.binary(min_size=60, max_size=60))
def test_any_mode_has_a_picture(machine, values):
    set_vbe(machine, ENABLE=0)
    indexed(machine, SEQUENCER, *values[:5])
    indexed(machine, GRAPHICS, *values[5:14])
    out(machine, CRTC, 0x0011, 2)
    indexed(machine, CRTC, *values[14:39])
    attributes(machine, *values[39:60])
    check(machine.vga)
