"""The CPU's way to a VGA's four planes, through the window at 0xa0000 (IBM VGA Technical Reference, "Graphics
Controller").  Byte i of plane p is byte 4 i + p of the memory: chain 4, one byte behind the other, is that as it is."""

from __future__ import annotations

from .registers import Registers

PLANES = 4
WINDOW_BYTES = 64 << 10
_SPREAD = [bytes(0xff if value >> plane & 1 else 0 for plane in range(PLANES)) for value in range(16)]


class Planes:
    """`memory` has PLANES * WINDOW_BYTES at least."""

    def __init__(self, registers: Registers, memory: memoryview):
        self._registers, self._memory = registers, memory
        self._latches = bytes(PLANES)

    def read(self, offset: int) -> int:
        """A byte, by read mode 0 or 1; all planes are latched."""
        graphics, sequencer = self._registers.graphics, self._registers.sequencer
        if sequencer[4] & 8:
            return self._memory[offset]
        at = PLANES * offset
        self._latches = bytes(self._memory[at:at + PLANES])
        if not graphics[5] & 8:
            return self._latches[graphics[4] & 3]
        different, wanted = 0, _SPREAD[graphics[2] & 15]
        for plane in range(PLANES):
            if graphics[7] >> plane & 1:
                different |= self._latches[plane] ^ wanted[plane]
        return ~different & 0xff

    def write(self, offset: int, value: int) -> None:
        """A byte, by write modes 0 to 3, to the planes that the map mask names."""
        sequencer = self._registers.sequencer
        mask = sequencer[2] & 15
        if sequencer[4] & 8:
            mask &= 1 << offset % PLANES
            offset //= PLANES
        data, at = self._data(value), PLANES * offset
        for plane in range(PLANES):
            if mask >> plane & 1:
                self._memory[at + plane] = data[plane]

    def _data(self, value: int) -> bytes:
        """What each plane gets."""
        graphics, latches = self._registers.graphics, self._latches
        mode = graphics[5] & 3
        if mode == 1:
            return latches
        bits = graphics[8]
        if mode == 2:
            data = _SPREAD[value & 15]
        else:
            value = (value << 8 | value) >> (graphics[3] & 7) & 0xff      # rotated right
            data = bytes([value]) * PLANES
            set_reset = _SPREAD[graphics[0] & 15]
            if mode == 3:
                bits, data = bits & value, set_reset
            else:
                data = bytes(set_reset[p] if graphics[1] >> p & 1 else value for p in range(PLANES))
        return bytes(self._combined(new, old) & bits | old & ~bits & 0xff for new, old in zip(data, latches))

    def _combined(self, new: int, old: int) -> int:
        return (new, new & old, new | old, new ^ old)[self._registers.graphics[3] >> 3 & 3]
