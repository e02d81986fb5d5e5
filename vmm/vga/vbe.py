"""The registers by which Bochs's and QEMU's display has modes that a VGA has not (Bochs's vbe.h; QEMU's
docs/specs/standard-vga.rst): an index, and 16 bits there."""

from __future__ import annotations

ID, WIDTH, HEIGHT, BITS, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X, Y, MEMORY = range(11)     # indices
OLDEST_ID, NEWEST_ID = 0xb0c0, 0xb0c5
ENABLED, GET_LIMITS, DAC_8_BITS, KEEP_MEMORY = 1 << 0, 1 << 1, 1 << 5, 1 << 7      # of ENABLE
LIMITS = {WIDTH: 2560, HEIGHT: 1600, BITS: 32}
DEPTHS = (4, 8, 15, 16, 24, 32)     # bits a pixel
BANK_BYTES = 64 << 10


class Vbe:
    """Whatever a guest wrote: while it is enabled, the mode's lines all lie in its memory."""

    def __init__(self, memory_bytes: int):
        self.memory_bytes, self._index = memory_bytes, 0
        self._registers = [0] * (MEMORY + 1)
        self._registers[ID], self._registers[MEMORY] = NEWEST_ID, memory_bytes // BANK_BYTES

    def __getitem__(self, index: int) -> int:
        return self._registers[index]

    @property
    def enabled(self) -> bool:
        return bool(self[ENABLE] & ENABLED)

    @property
    def linear(self) -> bool:
        """Whether there are pixels of whole bytes one behind the other, not planes."""
        return self.enabled and self[BITS] > 4

    @property
    def pixel_bytes(self) -> int:
        return -(-self[BITS] // 8)

    @property
    def pitch(self) -> int:
        """Bytes from one line to the next, of a plane where there are planes."""
        return self[VIRTUAL_WIDTH] * self.pixel_bytes if self[BITS] > 4 else self[VIRTUAL_WIDTH] // 8

    @property
    def start(self) -> int:
        """Where the first line begins, in bytes."""
        across = self[X] * self.pixel_bytes if self[BITS] > 4 else self[X] // 8
        return self[Y] * self.pitch + across

    # the guest's accesses

    def select(self, index: int) -> None:
        self._index = index

    def read(self) -> int:
        if self._index > MEMORY:
            return 0
        if self[ENABLE] & GET_LIMITS and self._index in LIMITS:
            return LIMITS[self._index]
        return self[self._index]

    def write(self, value: int) -> None:
        index, registers = self._index, self._registers
        if index == ID and OLDEST_ID <= value <= NEWEST_ID:
            registers[ID] = value
        elif index == BANK:
            registers[BANK] = min(value, registers[MEMORY] - 1)
        elif index == ENABLE:
            before, registers[ENABLE] = self.enabled, value
            if self.enabled and not before:
                self._settle()
        elif index in (WIDTH, HEIGHT, BITS) and not self.enabled:
            registers[index] = min(value, LIMITS[index])
        elif index in (VIRTUAL_WIDTH, X, Y):
            registers[index] = value
            self._fit()

    def _settle(self) -> None:
        """Make a mode of what was written."""
        registers = self._registers
        registers[BANK] = registers[X] = registers[Y] = registers[VIRTUAL_WIDTH] = 0
        registers[WIDTH] = max(8, registers[WIDTH] & ~7)
        registers[HEIGHT] = max(1, registers[HEIGHT])
        if registers[BITS] not in DEPTHS:
            registers[BITS] = 8
        self._fit()

    def _fit(self) -> None:
        """A line is as wide as what is shown of it at least; what is shown lies in memory."""
        registers = self._registers
        registers[VIRTUAL_WIDTH] = max(registers[VIRTUAL_WIDTH], registers[WIDTH]) & ~7
        memory = self.memory_bytes if registers[BITS] > 4 else self.memory_bytes // 4
        registers[VIRTUAL_HEIGHT] = lines = min(0xffff, memory // max(1, self.pitch))
        registers[HEIGHT] = min(registers[HEIGHT], max(1, lines))
        registers[X] = min(registers[X], registers[VIRTUAL_WIDTH] - registers[WIDTH])
        registers[Y] = min(registers[Y], max(0, lines - registers[HEIGHT]))
