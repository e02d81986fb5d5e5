"""Blitter: fills and copies rectangles of a framebuffer, which lies in memory of the device's own.

    splitvmm run --device blitter.py,screenshot=picture.png build/guest.elf
"""

from __future__ import annotations

import enum
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from vmm import RegisterDevice, UserError
from vmm.device.options import choice, path
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, enum_of, memory, reasons, reg, u32, u64

WIDTH, HEIGHT, PIXEL_BYTES = 640, 480, 4    # a pixel is 0x00RRGGBB, little-endian
MOST_PIXELS, MOST_SIDE = 16384, 256         # of a rectangle that the handler fills
FRAME_S = 0.05                              # between two pictures in the window


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

    framebuffer = memory(0x100000, WIDTH * HEIGHT * PIXEL_BYTES, "the picture, row by row")

    decline = reasons(TOO_LARGE="more pixels than the handler takes on", OUTSIDE="not all of it is in the picture",
                      NO_FILL="a copy, or no command at all")


class BlitterDevice(RegisterDevice):
    """The Python half: what the kernel half declines, or everything with offload off."""

    schema = Blitter
    handler = "blitter"

    screenshot = path(None, "where the picture is written as PNG, when the guest has ended")
    show = choice("off", ("off", "terminal", "window"), "where else it is to be seen: in the end, or as it is made")

    _viewer: subprocess.Popen | None = None

    def attach(self, place) -> None:
        super().attach(place)
        if self.show == "window":
            self._open_window()

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

    # what becomes of the picture

    def close(self) -> None:
        if self.place:
            self._show_last()
        super().close()

    def _show_last(self) -> None:
        if self.screenshot:
            try:
                self.image().save(self.screenshot, "PNG")
            except OSError as error:
                raise UserError(f"screenshot {self.screenshot}: {error.strerror}; wanted a file to write") from None
        if self.show == "terminal":
            self._print()
        if self._viewer:
            self._viewer.stdin.close()
            self._viewer.wait()

    def image(self):
        """The picture, as Pillow has it.  Raises UserError."""
        try:
            from PIL import Image
        except ImportError:
            raise UserError("no Pillow here, which makes pictures; wanted it installed, as by pip install "
                            "pillow") from None
        return Image.frombytes("RGB", (WIDTH, HEIGHT), bytes(self.memory.framebuffer), "raw", "BGRX")

    def _print(self) -> None:
        """Two pixels a character, as many as the terminal has room for."""
        from rich.console import Console
        from rich.text import Text
        console = Console(stderr=True)
        columns = min(console.width, 160)
        small = self.image().resize((columns, columns * HEIGHT // WIDTH // 2 * 2))
        for y in range(0, small.height, 2):
            line = Text()
            for x in range(columns):
                upper, lower = ("#{:02x}{:02x}{:02x}".format(*small.getpixel((x, y + half))) for half in (0, 1))
                line.append("▀", f"{upper} on {lower}")
            console.print(line)

    def _open_window(self) -> None:
        if not importlib.util.find_spec("tkinter") or not os.environ.get("DISPLAY"):
            raise UserError("show=window: no tkinter, or no $DISPLAY; wanted a graphical session, and the Debian "
                            "package python3-tk or what corresponds to it")
        viewer = Path(__file__).with_name("viewer.py")
        self._viewer = subprocess.Popen([sys.executable, viewer, str(WIDTH), str(HEIGHT)], stdin=subprocess.PIPE)
        self._frames = self.timer(self._send_frame)
        self._frames.start(0, every_s=FRAME_S)

    def _send_frame(self) -> None:
        try:
            self._viewer.stdin.write(self.image().tobytes())
        except OSError:         # it was closed
            self._frames.stop()


CONSTANTS = {"COLUMNS": WIDTH, "ROWS": HEIGHT, "PIXEL_BYTES": PIXEL_BYTES, "MOST_PIXELS": MOST_PIXELS,
             "MOST_SIDE": MOST_SIDE}
