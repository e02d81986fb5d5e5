"""Blitter: fills and copies rectangles of a framebuffer, which lies in memory of the device's own.

    splitvmm run --device blitter.py --screenshot picture.png build/guest.elf
"""

from __future__ import annotations

import enum

from vmm import RegisterDevice
from vmm.device.options import whole
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, enum_of, memory, reasons, reg, u32, u64

WIDTH, HEIGHT, PIXEL_BYTES = 640, 480, 4    # a pixel is 0x00RRGGBB, little-endian
MOST_PIXELS, MOST_SIDE = 16384, 256         # of a rectangle that the handler fills


class Status(enum.IntEnum):
    """What became of the last command."""

    DONE = 0
    OUTSIDE = 1
    UNKNOWN = 2


class Blitter(Device, id=0, version=1, acpi="SVMM0002"):
    """Fills and copies rectangles; no specification but this file."""

    class Command(enum.IntEnum):
        """What there is to do; both take the rectangle at dst_x, dst_y."""

        FILL = 1
        COPY = 2

    dst_x = reg(0x00, u32, "left side of the rectangle, in pixels", takes=POSTED)
    dst_y = reg(0x04, u32, "its upper side", takes=POSTED)
    width = reg(0x08, u32, "how wide it is", takes=POSTED)
    height = reg(0x0c, u32, "how high", takes=POSTED)
    colour = reg(0x10, u32, "what a FILL makes of it, 0x00RRGGBB", takes=POSTED)
    src_x = reg(0x14, u32, "left side of what a COPY takes", takes=POSTED)
    src_y = reg(0x18, u32, "its upper side", takes=POSTED)
    command = reg(0x1c, enum_of(u32, Command), "does it", access=WO, takes=NOTIFY,
                  latches=("dst_x", "dst_y", "width", "height", "colour", "src_x", "src_y"))
    status = reg(0x20, enum_of(u32, Status), "what became of it", access=RO)
    pixels = reg(0x28, u64, "pixels that were painted so far", access=RO)

    framebuffer = memory(0x100000, WIDTH * HEIGHT * PIXEL_BYTES, "the picture", pixels=(WIDTH, HEIGHT))

    decline = reasons(TOO_LARGE="more pixels than the handler takes on", OUTSIDE="not all of it is in the picture",
                      NO_FILL="a copy, or no command at all")


class BlitterDevice(RegisterDevice):
    """The Python half: what the kernel half declines, or everything with offload off."""

    schema = Blitter
    handler = "blitter"

    background = whole(0, 0, 0xffffff, "the colour that all of it has in the beginning, 0x00RRGGBB")

    def attach(self, place) -> None:
        super().attach(place)
        self.memory.framebuffer[:] = self.background.to_bytes(PIXEL_BYTES, "little") * (WIDTH * HEIGHT)

    def on_write_command(self, value: int) -> None:
        self.page.status = self._do(value, self.latched)

    def _do(self, command: int, it) -> Status:
        if command not in list(Blitter.Command):
            return Status.UNKNOWN
        if not self._inside(it.dst_x, it.dst_y, it.width, it.height):
            return Status.OUTSIDE
        if command == Blitter.Command.FILL:
            self.trace("fill %u x %u", it.width, it.height)
            row = (it.colour.to_bytes(PIXEL_BYTES, "little")) * it.width
            rows = [row] * it.height
        else:
            if not self._inside(it.src_x, it.src_y, it.width, it.height):
                return Status.OUTSIDE
            self.trace("copy %u x %u", it.width, it.height)
            rows = [bytes(self._row(it.src_x, it.src_y + i, it.width)) for i in range(it.height)]
        for i, row in enumerate(rows):      # all have been read by now, so that the two may overlap
            self._row(it.dst_x, it.dst_y + i, it.width)[:] = row
        self.page.pixels += it.width * it.height
        return Status.DONE

    @staticmethod
    def _inside(x: int, y: int, width: int, height: int) -> bool:
        return x + width <= WIDTH and y + height <= HEIGHT

    def _row(self, x: int, y: int, width: int) -> memoryview:
        at = (y * WIDTH + x) * PIXEL_BYTES
        return self.memory.framebuffer[at:at + width * PIXEL_BYTES]


CONSTANTS = {"COLUMNS": WIDTH, "ROWS": HEIGHT, "PIXEL_BYTES": PIXEL_BYTES, "MOST_PIXELS": MOST_PIXELS,
             "MOST_SIDE": MOST_SIDE}
