"""A picture made of what is in a VGA's memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..kvm.memory import GuestMemory
from . import text
from . import vbe as v
from .mode import TEXT_BYTES, Mode
from .planes import PLANES, WINDOW_BYTES
from .registers import Registers
from .vbe import Vbe

ALL_PLANES = PLANES * WINDOW_BYTES
INDEXED = "P"                       # a byte a pixel, which is a colour of the palette
FORMATS = {8: INDEXED, 15: "BGR;15", 16: "BGR;16", 24: "BGR", 32: "BGRX"}       # of bits a pixel, as Pillow calls them


@dataclass(frozen=True)
class Frame:
    """Pixels row by row; of INDEXED ones the palette, three bytes a colour."""

    width: int
    height: int
    format: str
    pixels: bytes
    palette: bytes = b""

    @property
    def palette_needed(self) -> bool:
        return self.format == INDEXED


class Painter:
    """Reads registers and memory, which a guest may be writing to."""

    def __init__(self, registers: Registers, vbe: Vbe, memory: memoryview, ram: GuestMemory):
        """`memory` is the VGA's own; characters are in guest RAM."""
        self._registers, self._vbe, self._memory, self._ram = registers, vbe, memory, ram
        self._mode = Mode(registers)

    def frame(self) -> Frame:
        vbe, mode = self._vbe, self._mode
        if vbe.linear:
            return self._linear()
        if vbe.enabled:
            return self._planar(vbe[v.WIDTH], vbe[v.HEIGHT], vbe.start, vbe.pitch, self._memory.nbytes // PLANES)
        if mode.text:
            return self._characters()
        if mode.colours_256:
            return self._bytes()
        return self._planar(mode.width, mode.height, mode.start, mode.pitch, WINDOW_BYTES)

    def text(self) -> list[str]:
        """The characters on the screen, a string a row without blanks at its end; of a text mode alone."""
        if self._vbe.enabled or not self._mode.text:
            return []
        return [row[::2].decode("cp437").translate(text.GLYPHS).rstrip() for row in self._rows()]

    def palette(self) -> bytes:
        """What the DAC has, with eight bits a colour."""
        if self._vbe.enabled and self._vbe[v.ENABLE] & v.DAC_8_BITS:
            return bytes(self._registers.palette)
        return bytes((value & 0x3f) << 2 | (value & 0x3f) >> 4 for value in self._registers.palette)

    def _indexed(self, width: int, height: int, pixels: bytes) -> Frame:
        return Frame(width, height, INDEXED, pixels, self.palette())

    def _linear(self) -> Frame:
        vbe = self._vbe
        row, pitch, start = vbe[v.WIDTH] * vbe.pixel_bytes, vbe.pitch, vbe.start
        pixels = b"".join(self._memory[start + y * pitch:][:row] for y in range(vbe[v.HEIGHT]))
        return Frame(vbe[v.WIDTH], vbe[v.HEIGHT], FORMATS[vbe[v.BITS]], pixels, self.palette())

    def _bytes(self) -> Frame:
        """256 colours: a byte of a plane a pixel, the planes in turn."""
        mode, memory = self._mode, bytes(self._memory[:ALL_PLANES]) * 2
        lines = (PLANES * (mode.start + y * mode.pitch) % ALL_PLANES for y in range(mode.height))
        return self._indexed(mode.width, mode.height, b"".join(memory[at:at + mode.width] for at in lines))

    def _planar(self, width: int, height: int, start: int, pitch: int, plane_bytes: int) -> Frame:
        """16 colours: a bit of each plane a pixel."""
        colours = bytes(self._mode.colour(number) for number in range(16)).ljust(256, b"\0")
        memory = bytes(self._memory[:PLANES * plane_bytes])
        places = (PLANES * ((start + y * pitch + x) % plane_bytes) for y in range(height) for x in range(width // 8))
        pixels = b"".join(_eight(memory[at:at + PLANES]) for at in places)
        return self._indexed(width // 8 * 8, height, pixels.translate(colours))

    def _rows(self) -> list[bytes]:
        return text.rows(self._mode, self._ram.read(self._mode.text_at, TEXT_BYTES))

    def _characters(self) -> Frame:
        mode = self._mode
        drawing = text.Drawing(mode, bytes(self._memory[2:ALL_PLANES:PLANES]))
        width, height = mode.columns * mode.character_width, mode.rows * mode.character_height
        pixels = b"".join(drawing.row(number, row) for number, row in enumerate(self._rows()))
        return self._indexed(width, height, pixels) if height else self._indexed(width, 1, bytes(width))


@lru_cache(1 << 14)
def _eight(planes: bytes) -> bytes:
    """Eight pixels' numbers."""
    return bytes(sum((planes[plane] >> bit & 1) << plane for plane in range(PLANES)) for bit in range(7, -1, -1))
