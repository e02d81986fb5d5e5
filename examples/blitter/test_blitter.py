"""Tests of the blitter: `drive` and `boot` run each in every mode that this machine allows."""

import random

import pytest
from blitter import HEIGHT, MOST_SIDE, WIDTH, Blitter, BlitterDevice, Status

FILL, COPY = Blitter.Command.FILL, Blitter.Command.COPY


@pytest.fixture
def blitter(drive):
    return drive(BlitterDevice("blitter"))


def order(blitter, command, **rectangle) -> int:
    """Whether the kernel half did it."""
    for name, value in rectangle.items():
        blitter.write(name, value)
    return blitter.write("command", command)


def pixel(blitter, x: int, y: int) -> int:
    return blitter.read_at(0x100000 + 4 * (y * WIDTH + x), 4)


def test_small_fills_stay_in_the_kernel(blitter):
    handled = order(blitter, FILL, dst_x=10, dst_y=20, width=3, height=2, colour=0x123456)
    assert handled == (blitter.device.mode != "off") and blitter.read("status") == Status.DONE
    picture = blitter.device.memory.framebuffer
    painted = {(x, y) for y in range(HEIGHT) for x in range(WIDTH) if picture[4 * (y * WIDTH + x)]}
    assert painted == {(x, y) for x in (10, 11, 12) for y in (20, 21)}
    assert pixel(blitter, 12, 21) == 0x123456 and blitter.read("pixels") == 6


@pytest.mark.parametrize("rectangle, status", [
    (dict(dst_x=0, dst_y=0, width=WIDTH, height=HEIGHT), Status.DONE),
    (dict(dst_x=WIDTH - 1, dst_y=0, width=2, height=1), Status.OUTSIDE),
    (dict(dst_x=0, dst_y=0xffffffff, width=1, height=2), Status.OUTSIDE),
    (dict(dst_x=0xffffffff, dst_y=0, width=0xffffffff, height=1), Status.OUTSIDE),
    (dict(dst_x=0, dst_y=0, width=0x10000, height=0x10000), Status.OUTSIDE)])
def test_what_is_declined_is_done_or_refused(blitter, rectangle, status):
    assert not order(blitter, FILL, colour=7, **rectangle)
    assert blitter.read("status") == status
    assert bytes(blitter.device.memory.framebuffer[:4]) == (b"\7\0\0\0" if status == Status.DONE else bytes(4))


def test_copy_onto_itself(blitter):
    for i in range(4):
        order(blitter, FILL, dst_x=i, dst_y=0, width=1, height=4, colour=i + 1)
    assert not order(blitter, COPY, src_x=0, src_y=0, dst_x=1, dst_y=1, width=3, height=3)
    assert [[pixel(blitter, x, y) for x in range(4)] for y in range(4)] == [[1, 2, 3, 4]] + 3 * [[1, 1, 2, 3]]


def test_unknown_command(blitter):
    assert not order(blitter, 77, width=1, height=1) and blitter.read("status") == Status.UNKNOWN


def test_fills_of_all_sizes(blitter):
    chance, wanted = random.Random(1), bytearray(WIDTH * HEIGHT * 4)
    for _ in range(60):
        width, height = chance.randrange(MOST_SIDE + 2), chance.randrange(70)
        x, y, colour = chance.randrange(WIDTH - width), chance.randrange(HEIGHT - height), chance.randrange(1 << 24)
        order(blitter, FILL, dst_x=x, dst_y=y, width=width, height=height, colour=colour)
        for row in range(y, y + height):
            at = 4 * (row * WIDTH + x)
            wanted[at:at + 4 * width] = colour.to_bytes(4, "little") * width
    assert bytes(blitter.device.memory.framebuffer) == wanted


def test_background(drive):
    assert pixel(drive(BlitterDevice("blitter", background=0x102030)), WIDTH - 1, HEIGHT - 1) == 0x102030


def test_halves_are_in_step(in_step):
    in_step(BlitterDevice, steps=500)


def test_guest(boot):
    done = boot(BlitterDevice)
    assert done.returncode == 0 and "488000 pixels" in done.stdout, done.stdout + done.stderr
