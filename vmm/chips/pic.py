"""The pair of 8259A interrupt controllers of a PC (Intel 8259A datasheet, 231468), and their edge/level control
registers (82371SB, 2.5.5).  What the datasheet leaves open is as KVM has it (arch/x86/kvm/i8259.c)."""

from __future__ import annotations

from collections.abc import Callable

FIRST, SECOND, EDGE_LEVEL = 0x20, 0xa0, 0x4d0       # ports
CASCADE = 2                     # pin of the first that the second one is on
SPURIOUS = 7                    # pin that an interrupt is said to have come by which is there no more
LEVEL_ALLOWED = 0xf8, 0xde      # pins that may be level-triggered: not those of timer, keyboard, cascade, clock, FPU
NORMAL, WANTS_ICW2, WANTS_ICW3, WANTS_ICW4 = range(4)


class Pic:
    """One 8259A."""

    def __init__(self, level_allowed: int, cascade: int = 0):
        self.level_allowed = level_allowed
        self.cascade = cascade          # mask of the pin that another 8259A is on
        self.irr = self.imr = self.isr = 0
        self.lines = 0                  # as they were when last seen
        self.level = 0                  # pins that are level-triggered
        self.top = 0                    # pin of the highest priority; those above it follow, then 0
        self.base = 0                   # vector of pin 0
        self.step = NORMAL              # which initialization command word is next
        self.wants_icw4 = False
        self.read_isr = False           # what the command port reads as; else it is IRR
        self.poll = False               # the next read of either port is a poll
        self.special_mask = False       # masked pins that are in service keep out no others
        self.fully_nested = False       # special fully nested mode
        self.auto_eoi = False
        self.rotate_on_auto_eoi = False

    def set_line(self, pin: int, level: bool) -> None:
        """A line has that level now; an edge is remembered until it is acknowledged."""
        mask = 1 << pin
        if not level:
            self.lines &= ~mask
            if self.level & mask:
                self.irr &= ~mask
            return
        if self.level & mask or not self.lines & mask:
            self.irr |= mask
        self.lines |= mask

    def _first(self, pins: int) -> int:
        """How far the one of highest priority among these is from the top; 8 if there is none."""
        rotated = (pins | pins << 8) >> self.top & 0xff
        return (rotated & -rotated).bit_length() - 1 if rotated else 8

    def requested(self) -> int:
        """The pin that the CPU should be interrupted by, or -1."""
        asking = self._first(self.irr & ~self.imr)
        if asking == 8:
            return -1
        serving = self.isr
        if self.special_mask:
            serving &= ~self.imr
        if self.fully_nested:
            serving &= ~self.cascade
        return asking + self.top & 7 if asking < self._first(serving) else -1

    def acknowledge(self, pin: int) -> None:
        """The CPU takes the interrupt of that pin."""
        mask = 1 << pin
        if not self.level & mask:
            self.irr &= ~mask
        if not self.auto_eoi:
            self.isr |= mask
        elif self.rotate_on_auto_eoi:
            self.top = pin + 1 & 7

    # what a guest writes: whether that may let a pin through which had to wait

    def command(self, value: int) -> bool:
        """A write to the lower port."""
        if not value & 0x18:
            return self._operation_2(value >> 5, value & 7)
        if value & 0x10:
            self._initialize(value)
        else:
            self._operation_3(value)
        return False

    def _initialize(self, icw1: int) -> None:
        """ICW1: all as after reset, but what ICW2 to ICW4 say.  Edges that waited are forgotten."""
        edges = self.irr & ~self.level
        self.irr &= ~edges
        self.isr &= ~edges
        self.lines = self.imr = self.top = 0
        self.special_mask = self.read_isr = False
        self.wants_icw4 = bool(icw1 & 1)
        if not self.wants_icw4:
            self.fully_nested = self.auto_eoi = False
        self.step = WANTS_ICW2

    def _operation_3(self, value: int) -> None:
        """OCW3: poll, what to read, special mask mode."""
        if value & 0x04:
            self.poll = True
        if value & 0x02:
            self.read_isr = bool(value & 1)
        if value & 0x40:
            self.special_mask = bool(value & 0x20)

    def _operation_2(self, what: int, pin: int) -> bool:
        """OCW2: end of interrupt, rotation of priorities."""
        rotate, specific, eoi = what & 4, what & 2, what & 1
        if not eoi and not specific:
            self.rotate_on_auto_eoi = bool(rotate)
            return False
        if not specific:
            serving = self._first(self.isr)
            if serving == 8:
                return False
            pin = serving + self.top & 7
        if eoi:
            self.isr &= ~(1 << pin)
        if rotate:
            self.top = pin + 1 & 7
        return bool(eoi or rotate)

    def data(self, value: int) -> bool:
        """A write to the upper port: the mask, or what initialization goes on with."""
        if self.step == NORMAL:
            self.imr = value
            return True
        if self.step == WANTS_ICW2:
            self.base = value & 0xf8
            self.step = WANTS_ICW3
        elif self.step == WANTS_ICW3:
            self.step = WANTS_ICW4 if self.wants_icw4 else NORMAL
        else:
            self.fully_nested = bool(value & 0x10)
            self.auto_eoi = bool(value & 0x02)
            self.step = NORMAL
        return False

    # what it reads

    def read(self, port: int) -> int:
        """The lower port (0) or the upper one."""
        if self.poll:
            self.poll = False
            return self._polled()
        if port:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def _polled(self) -> int:
        """An acknowledgement without a CPU's: bit 7 and the pin, or 0."""
        pin = self.requested()
        if pin < 0:
            return 0
        self.acknowledge(pin)
        return 0x80 | pin


class Pics:
    """Both, the second one on the first one's pin 2.  `changed` is told when their output rises."""

    def __init__(self, changed: Callable[[], None]):
        self.first = Pic(LEVEL_ALLOWED[0], cascade=1 << CASCADE)
        self.second = Pic(LEVEL_ALLOWED[1])
        self.output = False             # the CPU is asked for
        self._changed = changed

    def leave_as_firmware(self, masks: int = 0xffff) -> None:
        """8086 mode, vectors from 0x08 and 0x70 on, as the machine has them with KVM; bit n of `masks` masks pin n."""
        for pic, base, mask in (self.first, 0x08, masks & 0xff), (self.second, 0x70, masks >> 8):
            pic.imr, pic.base, pic.wants_icw4 = mask, base, True

    def set_line(self, pin: int, level: bool) -> None:
        """Of the second one, pins count from 8."""
        (self.second if pin & 8 else self.first).set_line(pin & 7, level)
        self.update()

    def update(self) -> None:
        """After anything that may let a pin through.  The cascade is an edge each time, as KVM has it."""
        if self.second.requested() >= 0:
            self.first.set_line(CASCADE, True)
            self.first.set_line(CASCADE, False)
        self.update_output()

    def update_output(self) -> None:
        """After anything else."""
        was, self.output = self.output, self.first.requested() >= 0
        if self.output and not was:
            self._changed()

    def acknowledge(self) -> int:
        """The vector of the interrupt that the CPU takes; what is there no more is spurious (datasheet, "Interrupt
        Sequence")."""
        pin = self.first.requested()
        if pin >= 0:
            self.first.acknowledge(pin)
        chip = self.first
        if pin == CASCADE:
            chip, pin = self.second, self.second.requested()
            if pin >= 0:
                chip.acknowledge(pin)
        self.update()
        return chip.base + (pin if pin >= 0 else SPURIOUS)

    def polled(self) -> None:
        """One of them was: if it was the second, the first hears of what it still asks for, and no more."""
        self.first.irr &= ~(1 << CASCADE)
        self.update()

    def masks(self) -> tuple[int, int]:
        """Both mask registers."""
        return self.first.imr, self.second.imr

    def ports(self) -> list[tuple[int, int, object, str]]:
        """(first, how many, device, name) of each pair."""
        return [(FIRST, 2, PicPorts(self, self.first), "8259A"),
                (SECOND, 2, PicPorts(self, self.second), "8259A, second"),
                (EDGE_LEVEL, 2, EdgeLevelPorts(self), "8259A, edge/level")]


class PicPorts:
    """The two ports of one; accesses of other widths than a byte read as 0, and write nothing."""

    def __init__(self, pics: Pics, pic: Pic):
        self._pics, self._pic = pics, pic

    def read(self, offset: int, width: int) -> int:
        if width != 1:
            return 0
        polled = self._pic.poll
        value = self._pic.read(offset & 1)
        if polled:
            self._pics.polled()
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        if width != 1:
            return
        write = self._pic.data if offset & 1 else self._pic.command
        if write(value & 0xff):
            self._pics.update()
        else:
            self._pics.update_output()


class EdgeLevelPorts:
    """Which pins of each are level-triggered."""

    def __init__(self, pics: Pics):
        self._pics = pics

    def _pic(self, offset: int) -> Pic:
        return self._pics.second if offset & 1 else self._pics.first

    def read(self, offset: int, width: int) -> int:
        return self._pic(offset).level if width == 1 else 0

    def write(self, offset: int, width: int, value: int) -> None:
        if width == 1:
            pic = self._pic(offset)
            pic.level = value & pic.level_allowed
            self._pics.update_output()
