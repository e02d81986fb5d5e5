"""A VGA's registers (IBM VGA Technical Reference; FreeVGA's): ports 0x3c0 to 0x3df, and what of them is at 0x3b0 in
monochrome modes."""

from __future__ import annotations

SEQUENCER, GRAPHICS, CRTC, ATTRIBUTE = 5, 9, 25, 21         # how many of each
COLOURS = 256

# ports, from 0x3c0
ATTRIBUTE_AT, ATTRIBUTE_DATA, MISC_WRITE, SEQUENCER_AT, SEQUENCER_DATA = 0x00, 0x01, 0x02, 0x04, 0x05
DAC_MASK, DAC_READ_AT, DAC_WRITE_AT, DAC_DATA, MISC_READ = 0x06, 0x07, 0x08, 0x09, 0x0c
GRAPHICS_AT, GRAPHICS_DATA, CRTC_AT, CRTC_DATA, STATUS = 0x0e, 0x0f, 0x14, 0x15, 0x1a

VERTICAL_RETRACE_END, OVERFLOW = 0x11, 0x07                 # of the CRTC
PROTECTED, LINE_COMPARE_8 = 0x80, 0x10
BLANKED, RETRACE = 1 << 0, 1 << 3                           # of the status


class Registers:
    """What was written to each.  A mode is what a guest makes of them."""

    def __init__(self):
        self.sequencer, self.graphics = bytearray(SEQUENCER), bytearray(GRAPHICS)
        self.crtc, self.attribute = bytearray(CRTC), bytearray(ATTRIBUTE)
        self.palette = bytearray(3 * COLOURS)       # red, green, blue, as the DAC has them
        self.misc = self.dac_mask = 0
        self._index = {ATTRIBUTE_AT: 0, SEQUENCER_AT: 0, GRAPHICS_AT: 0, CRTC_AT: 0}
        self._files = {SEQUENCER_DATA: self.sequencer, GRAPHICS_DATA: self.graphics, CRTC_DATA: self.crtc}
        self._attribute_data = False        # port 0x3c0 takes an index, then data
        self._read_at = self._write_at = self._status = 0

    def read(self, port: int) -> int:
        """A byte at a port, counted from 0x3c0."""
        if port in self._files:
            file, index = self._files[port], self._index[port - 1]
            return file[index] if index < len(file) else 0
        if port in self._index:
            return self._index[port]
        if port == ATTRIBUTE_DATA:
            index = self._index[ATTRIBUTE_AT] & 0x1f
            return self.attribute[index] if index < ATTRIBUTE else 0
        if port == STATUS:
            self._attribute_data = False
            self._status ^= BLANKED | RETRACE       # whoever waits for one of both finds it
            return self._status
        if port == DAC_DATA:
            value, self._read_at = self.palette[self._read_at], (self._read_at + 1) % len(self.palette)
            return value
        return {MISC_READ: self.misc, DAC_MASK: self.dac_mask, DAC_WRITE_AT: self._write_at // 3}.get(port, 0)

    def write(self, port: int, value: int) -> None:
        if port == ATTRIBUTE_AT:
            self._write_attribute(value)
        elif port in self._index:
            self._index[port] = value
        elif port == CRTC_DATA:
            self._write_crtc(self._index[CRTC_AT], value)
        elif port in self._files:
            file, index = self._files[port], self._index[port - 1]
            if index < len(file):
                file[index] = value
        elif port == MISC_WRITE:
            self.misc = value
        elif port == DAC_MASK:
            self.dac_mask = value
        elif port == DAC_READ_AT:
            self._read_at = 3 * value
        elif port == DAC_WRITE_AT:
            self._write_at = 3 * value
        elif port == DAC_DATA:
            self.palette[self._write_at] = value
            self._write_at = (self._write_at + 1) % len(self.palette)

    def _write_attribute(self, value: int) -> None:
        index = self._index[ATTRIBUTE_AT] & 0x1f
        if not self._attribute_data:
            self._index[ATTRIBUTE_AT] = value & 0x3f
        elif index < ATTRIBUTE:
            self.attribute[index] = value
        self._attribute_data = not self._attribute_data

    def _write_crtc(self, index: int, value: int) -> None:
        """Registers 0 to 7 can be protected, but for one bit."""
        if index >= CRTC:
            return
        if index <= OVERFLOW and self.crtc[VERTICAL_RETRACE_END] & PROTECTED:
            if index != OVERFLOW:
                return
            value = self.crtc[OVERFLOW] & ~LINE_COMPARE_8 | value & LINE_COMPARE_8
        self.crtc[index] = value
