"""What a VGA's registers say of the picture (IBM VGA Technical Reference)."""

from __future__ import annotations

from .registers import Registers

MOST_WIDTH, MOST_HEIGHT = 2048, 2048        # more than any mode has
TEXT_BYTES = 32 << 10                       # at 0xb0000, and at 0xb8000


class Mode:
    """A view of the registers, as they are."""

    def __init__(self, registers: Registers):
        self._registers = registers

    @property
    def text(self) -> bool:
        return not self._registers.graphics[6] & 1

    @property
    def colours_256(self) -> bool:
        return bool(self._registers.graphics[5] & 0x40)

    @property
    def chained(self) -> bool:
        """Whether the four planes are one behind the other to the CPU: chain 4, and nothing done to what it writes."""
        r = self._registers
        plain = r.sequencer[2] & 15 == 15 and not r.graphics[5] & 3 and not r.graphics[3] and r.graphics[8] == 0xff
        return bool(r.sequencer[4] & 8) and plain and not r.graphics[1]

    @property
    def width(self) -> int:
        """Pixels of a graphics mode."""
        return min(MOST_WIDTH, 8 * (self._registers.crtc[1] + 1) // (2 if self.colours_256 else 1))

    @property
    def scan_lines(self) -> int:
        crtc = self._registers.crtc
        return min(MOST_HEIGHT, (crtc[0x12] | (crtc[7] & 2) << 7 | (crtc[7] & 0x40) << 3) + 1)

    @property
    def character_height(self) -> int:
        """Scan lines of a row of characters, or of a line of pixels."""
        return (self._registers.crtc[9] & 0x1f) + 1

    @property
    def height(self) -> int:
        """Lines of pixels of a graphics mode."""
        doubled = 2 if self._registers.crtc[9] & 0x80 else 1
        return max(1, self.scan_lines // self.character_height // doubled)

    @property
    def columns(self) -> int:
        return self._registers.crtc[1] + 1

    @property
    def rows(self) -> int:
        return self.scan_lines // self.character_height

    @property
    def character_width(self) -> int:
        """Pixels; the ninth is a gap, but in characters that draw lines."""
        return 8 if self._registers.sequencer[1] & 1 else 9

    @property
    def start(self) -> int:
        """Where the picture begins, in bytes of a plane, or in characters."""
        return self._registers.crtc[0x0c] << 8 | self._registers.crtc[0x0d]

    @property
    def pitch(self) -> int:
        """From one line to the next, in bytes of a plane, or in characters."""
        return 2 * self._registers.crtc[0x13]

    @property
    def text_at(self) -> int:
        """The guest-physical address of its TEXT_BYTES of characters."""
        return 0xb0000 if self._registers.graphics[6] >> 2 & 3 == 2 else 0xb8000

    @property
    def fonts(self) -> tuple[int, int]:
        """Where in plane 2 the fonts of characters with attribute bit 3 clear, and set, begin."""
        select = self._registers.sequencer[3]
        numbers = select & 3 | select >> 2 & 4, select >> 2 & 3 | select >> 3 & 4
        first, second = (number % 4 * 0x4000 + number // 4 * 0x2000 for number in numbers)
        return first, second

    @property
    def blinking(self) -> bool:
        """Whether an attribute's highest bit is no colour."""
        return bool(self._registers.attribute[0x10] & 8)

    @property
    def joins_lines(self) -> bool:
        """Whether characters that draw lines have their ninth pixel."""
        return bool(self._registers.attribute[0x10] & 4)

    @property
    def cursor(self) -> tuple[int, range] | None:
        """The character's number in memory, and its scan lines; None while it is off."""
        crtc = self._registers.crtc
        if crtc[0x0a] & 0x20:
            return None
        return crtc[0x0e] << 8 | crtc[0x0f], range(crtc[0x0a] & 0x1f, (crtc[0x0b] & 0x1f) + 1)

    def colour(self, number: int) -> int:
        """The DAC's register that one of 16 colours leads to."""
        attribute = self._registers.attribute
        found = attribute[number] & 0x3f | (attribute[0x14] & 0xc) << 4
        if attribute[0x10] & 0x80:
            found = found & ~0x30 | (attribute[0x14] & 3) << 4
        return found
