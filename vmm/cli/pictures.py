"""`--screenshot` and `--show`: the picture that a device has in its memory (`memory(..., pixels=...)`), or a display
shows, as a file, in the terminal, or in a window while the guest draws it; of a display also its characters."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..devmodel.register_layout import PIXEL_BYTES
from ..errors import UserError
from . import options as parse
from . import standard

FRAME_S = 0.05          # between two pictures in the window
WINDOW = Path(__file__).with_name("window.py")
MOST_COLUMNS = 160      # of a terminal, which is a pixel each
SCREENSHOT = ("when the guest has ended, write the picture that a device has in its memory, or the display shows, to "
              "FILE, as PNG")
SHOW = ("show it: terminal, on standard error, when the guest has ended; window, while it is drawn (takes tkinter); or "
        "text, a display's characters alone, on standard output at the end.  Key: device=NAME, as of --screenshot, "
        "where several devices have one (vga is the display); all but text take Pillow")


@dataclass(frozen=True)
class Picture:
    """Pixels are PIXEL_BYTES, 0x00RRGGBB in little-endian order, row by row."""

    width: int
    height: int
    pixels: memoryview

    def image(self):
        """It, as Pillow has it: a copy of what is there now."""
        from PIL import Image
        return Image.frombytes("RGB", (self.width, self.height), bytes(self.pixels), "raw", "BGRX")


class Display:
    """What a VGA shows; its size changes, so width and height are a window's."""

    width, height = 800, 600

    def __init__(self, vga):
        self._vga = vga

    def image(self):
        """It, as Pillow has it: what is there now."""
        from PIL import Image
        frame = self._vga.frame()
        size = frame.width, frame.height
        if not frame.palette_needed:
            return Image.frombytes("RGB", size, frame.pixels, "raw", frame.format)
        image = Image.frombytes("P", size, frame.pixels)
        image.putpalette(frame.palette)
        return image.convert("RGB")

    def text(self) -> str:
        """The characters that it shows, without the empty lines at the end."""
        return "\n".join(self._vga.text()).rstrip("\n") + "\n"


def pictures(machine) -> dict[str, Picture | Display]:
    """All of a machine's, by the device's name; of a device that has several, with the memory's behind it."""
    found: dict[str, Picture | Display] = {"vga": Display(machine.vga)} if machine.vga else {}
    for device in machine.devices:
        of_it = {name: item for name, item in device.layout.memories.items() if item.pixels}
        for name, item in of_it.items():
            width, height = item.pixels
            found[device.name if len(of_it) == 1 else f"{device.name}.{name}"] = Picture(
                width, height, getattr(device.memory, name)[:PIXEL_BYTES * width * height])
    return found


class Shown:
    """What the two options ask for.  Raises UserError for what cannot be done here."""

    def __init__(self, screenshot: str | None, show: str | None):
        self._outputs = []
        if screenshot is not None:
            given = parse.pairs(screenshot, "--screenshot", ("path", "device"), "path")
            self._outputs.append(("--screenshot", given.get("device"), _file(given, screenshot)))
        if show is not None:
            given = parse.pairs(show, "--show", ("where", "device"), "where")
            where = parse.choice(given.get("where", ""), "--show", ("terminal", "window", "text"))
            make = {"terminal": _terminal, "window": _window, "text": _Text}[where]
            self._outputs.append(("--show", given.get("device"), make()))
        drawn = [option for option, _, output in self._outputs if not isinstance(output, _Text)]
        if drawn and not _has("PIL"):
            raise UserError(f"{drawn[0]}: no Pillow here, which makes pictures; wanted it installed, as by "
                            "pip install pillow")

    @contextmanager
    def of(self, machine) -> Iterator[None]:
        """For the block, in which the machine runs.  Raises UserError, or OSError of what cannot be written."""
        found = pictures(machine)
        taken = [(output, found[_chosen(found, option, name)]) for option, name, output in self._outputs]
        for output, picture in taken:
            output.begin(picture)
        try:
            yield
        finally:
            for output, picture in taken:
                output.end(picture)


def _chosen(found: dict[str, Picture | Display], option: str, name: str | None) -> str:
    if name is not None and name not in found:
        raise UserError(f"{option}: no picture of {name!r}; wanted one of {', '.join(found) or 'a device with one'}")
    if name is None and len(found) != 1:
        raise UserError(f"{option}: pictures of {', '.join(found)}; wanted device= one of them" if found else
                        f"{option}: no device here has a picture; wanted --vga std, or one by memory(..., "
                        "pixels=(width, height))")
    return name or next(iter(found))


def _file(given: dict[str, str], text: str) -> _File:
    if not given.get("path"):
        raise UserError(f"--screenshot {text}: no file; wanted its name")
    path = Path(given["path"])
    if not standard.may_write(path):
        raise UserError(f"--screenshot {path}: it cannot be written; wanted a file in a folder that is there")
    return _File(path)


def _terminal() -> _Terminal:
    if not (sys.stderr and sys.stderr.isatty()):
        raise UserError("--show terminal: standard error, where it is shown, is no terminal; wanted one there")
    return _Terminal()


def _window() -> _Window:
    if not _can_open_windows():
        raise UserError("--show window: no tkinter, or no $DISPLAY; wanted a graphical session, and the Debian package "
                        "python3-tk or what corresponds to it")
    return _Window()


def _can_open_windows() -> bool:
    return _has("tkinter") and bool(os.environ.get("DISPLAY"))


def _has(module: str) -> bool:
    from importlib.util import find_spec
    return find_spec(module) is not None


class _File:
    def __init__(self, path: Path):
        self._path = path

    def begin(self, picture: Picture | Display) -> None:
        pass

    def end(self, picture: Picture | Display) -> None:
        png = io.BytesIO()
        picture.image().save(png, "PNG")
        try:
            self._path.write_bytes(png.getvalue())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None


class _Text:
    def begin(self, picture: Picture | Display) -> None:
        if not isinstance(picture, Display):
            raise UserError("--show text: that picture has no characters; wanted a display's (--vga)")

    def end(self, picture: Picture | Display) -> None:
        sys.stdout.write(picture.text())


class _Terminal:
    """Two pixels a character, one above the other."""

    def begin(self, picture: Picture | Display) -> None:
        pass

    def end(self, picture: Picture | Display) -> None:
        from rich.console import Console
        from rich.text import Text
        console = Console(stderr=True)
        columns = min(console.width, MOST_COLUMNS, picture.width)
        small = picture.image().resize((columns, max(2, columns * picture.height // picture.width // 2 * 2)))
        for y in range(0, small.height, 2):
            line = Text()
            for x in range(columns):
                upper, lower = ("#{:02x}{:02x}{:02x}".format(*small.getpixel((x, y + half))) for half in (0, 1))
                line.append("▀", f"{upper} on {lower}")
            console.print(line)


class _Window:
    """A process of its own, which is sent a picture every FRAME_S."""

    def begin(self, picture: Picture | Display) -> None:
        import subprocess
        self._process = subprocess.Popen([sys.executable, "-I", str(WINDOW), str(picture.width), str(picture.height)],
                                         stdin=subprocess.PIPE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(picture,), daemon=True)
        self._thread.start()

    def _send(self, picture: Picture | Display) -> None:
        with suppress(OSError):         # it was closed
            while True:
                over = self._over.wait(FRAME_S)     # before the picture, so that the last one is sent
                image = picture.image().resize((picture.width, picture.height))
                self._process.stdin.write(image.tobytes())
                self._process.stdin.flush()
                if over:
                    return

    def end(self, picture: Picture | Display) -> None:
        """The window stays until it is closed."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
