"""A text mode's picture: characters and attributes, drawn with the fonts in plane 2 (IBM VGA Technical Reference)."""

from __future__ import annotations

from functools import lru_cache

from .mode import Mode
from .planes import WINDOW_BYTES

# What code page 437 shows for codes that are no characters elsewhere, and that a terminal would act on
GLYPHS = {**dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")), 0x7f: "⌂"}
FONT_BYTES = 32                     # a character
LINE_DRAWING = range(0xc0, 0xe0)    # characters whose ninth pixel is their eighth, if the VGA is told so


def rows(mode: Mode, memory: bytes) -> list[bytes]:
    """Characters and attributes in turn, of each row of the screen; `memory` has them all."""
    starts = (2 * (mode.start + row * mode.pitch) % len(memory) for row in range(mode.rows))
    return [(memory[at:] + memory[:at])[:2 * mode.columns] for at in starts]


class Drawing:
    """One picture, of registers and of a font as they are now."""

    def __init__(self, mode: Mode, font: bytes):
        """`font` is plane 2."""
        self._height, self._wide, self._joins = mode.character_height, mode.character_width == 9, mode.joins_lines
        self._fonts, self._font, self._cursor = mode.fonts, font, mode.cursor
        self._colours = [mode.colour(number) for number in range(16)]
        self._behind = 7 if mode.blinking else 15
        self._start, self._pitch, self._columns = mode.start, mode.pitch, mode.columns

    def row(self, number: int, characters: bytes) -> bytes:
        """The pixels of a row of characters, line by line."""
        cells = [self._cell(*characters[i:i + 2]) for i in range(0, len(characters), 2)]
        if self._cursor and 0 <= (column := self._cursor[0] - self._start - number * self._pitch) < self._columns:
            cells[column] = self._under_cursor(cells[column], characters[2 * column + 1])
        return b"".join(cell[line] for line in range(self._height) for cell in cells)

    def _cell(self, character: int, attribute: int) -> list[bytes]:
        """A character's lines."""
        at = self._fonts[attribute >> 3 & 1] + FONT_BYTES * character
        ahead, behind = self._colours[attribute & 15], self._colours[attribute >> 4 & self._behind]
        joined = self._joins and character in LINE_DRAWING
        return [_line(self._font[at + i & WINDOW_BYTES - 1], ahead, behind, self._wide, joined)
                for i in range(self._height)]

    def _under_cursor(self, lines: list[bytes], attribute: int) -> list[bytes]:
        """The cursor is as wide as a character, in its colour."""
        assert self._cursor
        solid = bytes([self._colours[attribute & 15]]) * len(lines[0])
        return [solid if i in self._cursor[1] else line for i, line in enumerate(lines)]


@lru_cache(1 << 13)
def _line(bits: int, ahead: int, behind: int, wide: bool, joined: bool) -> bytes:
    pixels = bytes(ahead if bits >> bit & 1 else behind for bit in range(7, -1, -1))
    return pixels + bytes([pixels[-1] if joined else behind]) if wide else pixels
