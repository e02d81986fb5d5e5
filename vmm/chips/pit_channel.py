"""One counter of an 8254 (Intel 82C54 datasheet, 231244).

Nothing counts: what a counter has is worked out from when it was started.  A count that was written counts from the
clock that it was written in, where a chip would wait for the next one.
"""

from __future__ import annotations

from .clock import NS_PER_S

HZ = 1_193_182              # of a PC's: a third of NTSC's colour subcarrier, over 3 (14.31818 MHz / 12)
LOW, HIGH, BOTH = 1, 2, 3   # bytes of a count that are accessed (control word, RW)
TERMINAL, ONE_SHOT, RATE, SQUARE, SOFT_STROBE, HARD_STROBE = range(6)       # modes
PERIODIC = (RATE, SQUARE)
TRIGGERED = (ONE_SHOT, HARD_STROBE)     # start by the gate alone


def ns_of_clocks(clocks: int) -> int:
    """When so many have gone by, in nanoseconds."""
    return -(-clocks * NS_PER_S // HZ)


def clocks_of_ns(ns: int) -> int:
    """How many have gone by then."""
    return ns * HZ // NS_PER_S


def of_bcd(value: int) -> int:
    """Four decimal digits, one in each nibble; what is no digit counts for what it is."""
    return sum((value >> 4 * at & 0xf) * 10 ** at for at in range(4))


def to_bcd(value: int) -> int:
    """The same the other way."""
    return sum(value // 10 ** at % 10 << 4 * at for at in range(4))


class Channel:
    """One counter.  Times are in nanoseconds of the clock, counts in its input clocks."""

    def __init__(self, gate: bool):
        self.gate = gate
        self.mode = TERMINAL
        self.access = LOW
        self.bcd = False
        self.written = self.count = 0x10000         # written last; being counted
        self.null = True                            # the one is not the other yet
        self.started: int | None = None             # the clock in which it had all of `count`
        self.stopped: int | None = None             # clocks since then, when the gate stopped it
        self.changes_at: int | None = None          # clocks since then after which `written` takes over (modes 2, 3)
        self.low_byte: int | None = None            # of a count whose other half is to come
        self.reads_high = False                     # which half is read next, of both
        self.latched: list[int] = []                # bytes of a latched count that are to be read
        self.latched_status: int | None = None

    # what it has

    def clocks(self, now_ns: int) -> int:
        """How many it has counted, ever since `started`."""
        if self.stopped is not None or self.started is None:
            return self.stopped or 0
        return max(0, clocks_of_ns(now_ns) - self.started)

    def settle(self, now_ns: int) -> None:
        """In periodic modes a new count takes over when the old one is through, or half through (mode 3)."""
        if self.changes_at is None or self.clocks(now_ns) < self.changes_at:
            return
        assert self.started is not None
        half_through = self.changes_at % self.count != 0
        self.started += self.changes_at
        self._take_written()
        if half_through:
            self.started -= self._high_clocks()

    def _take_written(self) -> None:
        self.count, self.changes_at, self.null = self.written, None, False

    def _high_clocks(self) -> int:
        """In mode 3: how long the output is high; an odd count has one more than low (datasheet, "Mode 3")."""
        return (self.count + 1) // 2

    def output(self, now_ns: int) -> bool:
        """OUT."""
        self.settle(now_ns)
        clocks = self.clocks(now_ns)
        if self.mode in PERIODIC:
            if self.started is None or not self.gate:
                return True
            at = clocks % self.count
            return at < self._high_clocks() if self.mode == SQUARE else at != self.count - 1
        if self.mode in (SOFT_STROBE, HARD_STROBE):
            return self.started is None or clocks != self.count
        if self.started is None:
            return self.mode == ONE_SHOT
        return clocks >= self.count

    def value(self, now_ns: int) -> int:
        """What is read as its count: 16 bits."""
        self.settle(now_ns)
        clocks = self.clocks(now_ns)
        if self.mode == SQUARE:
            value = self._square_value(clocks % self.count)
        elif self.mode == RATE:
            value = self.count - clocks % self.count
        else:
            value = self.count - clocks
        return to_bcd(value % 10000) if self.bcd else value & 0xffff

    def _square_value(self, at: int) -> int:
        """By twos, once while the output is high, once while it is low; an odd count begins at one less."""
        high = self._high_clocks()
        return (self.count & ~1) - 2 * (at if at < high else at - high)

    def status(self, now_ns: int) -> int:
        """Output, null count, access, mode, BCD (datasheet, figure 12)."""
        output = self.output(now_ns)
        return output << 7 | self.null << 6 | self.access << 4 | self.mode << 1 | self.bcd

    def next_edge_ns(self, after_ns: int) -> int | None:
        """When the output rises next, after that time; None if it will not by itself."""
        self.settle(after_ns)
        if self.started is None or self.stopped is not None:
            return None
        clocks = self.count
        if self.mode in PERIODIC:
            clocks = self.changes_at or (self.clocks(after_ns) // self.count + 1) * self.count
            if self.changes_at and clocks % self.count:         # it is half through, and low, then
                clocks += self.written // 2
        at_ns = ns_of_clocks(self.started + clocks)
        return at_ns if at_ns > after_ns else None

    # what is done to it

    def control(self, access: int, mode: int, bcd: bool) -> None:
        """A control word: it waits for a count now."""
        self.access, self.mode, self.bcd = access, mode - 4 if mode > HARD_STROBE else mode, bcd
        self.low_byte, self.reads_high, self.latched = None, False, []
        self.started = self.stopped = self.changes_at = None
        self.null = True

    def latch_count(self, now_ns: int) -> None:
        """Counter latch command: it is read as it is now; one that was latched before stays."""
        if not self.latched:
            value = self.value(now_ns)
            low, high = [value & 0xff], [value >> 8]
            self.latched = low + high if self.access == BOTH else high if self.access == HIGH else low

    def latch_status(self, now_ns: int) -> None:
        if self.latched_status is None:
            self.latched_status = self.status(now_ns)

    def read(self, now_ns: int) -> int:
        """A byte: of a latched status, a latched count, or the count."""
        if self.latched_status is not None:
            status, self.latched_status = self.latched_status, None
            return status
        if self.latched:
            return self.latched.pop(0)
        value = self.value(now_ns)
        high = self.access == HIGH
        if self.access == BOTH:
            high, self.reads_high = self.reads_high, not self.reads_high
        return value >> 8 if high else value & 0xff

    def write(self, byte: int, now_ns: int) -> None:
        """A byte of a count; in mode 0 the first one of two stops it."""
        self.settle(now_ns)
        if self.access == BOTH and self.low_byte is None:
            self.low_byte = byte
            if self.mode == TERMINAL:
                self.started = self.stopped = None
            return
        low, self.low_byte = self.low_byte or 0, None
        self._load(byte if self.access == LOW else low | byte << 8, now_ns)

    def _load(self, value: int, now_ns: int) -> None:
        """A whole count; 0 is the largest one."""
        largest = 10000 if self.bcd else 0x10000
        self.written, self.null = (of_bcd(value) if self.bcd else value) or largest, True
        if self.mode in PERIODIC and self.started is not None:
            self.changes_at = self._boundary(self.clocks(now_ns))
        else:
            self.begin(now_ns)

    def begin(self, now_ns: int) -> None:
        """Count from what was written; where the gate is a trigger, as it comes."""
        if self.mode not in TRIGGERED:
            self._start(now_ns)

    def _boundary(self, clocks: int) -> int:
        """After how many clocks the period ends, or in mode 3 its half."""
        at = clocks % self.count
        whole = clocks - at
        if self.mode == SQUARE and at < self._high_clocks() < self.count:
            return whole + self._high_clocks()
        return whole + self.count

    def _start(self, now_ns: int) -> None:
        self._take_written()
        self.started, self.stopped = clocks_of_ns(now_ns), None if self.gate or self.mode in TRIGGERED else 0

    def set_gate(self, gate: bool, now_ns: int) -> None:
        """A low gate stops it, but where it is only a trigger; a rising one starts it anew, but in modes 0 and 4."""
        self.settle(now_ns)
        rises, self.gate = gate and not self.gate, gate
        if self.mode in TRIGGERED or self.mode in PERIODIC:
            if rises and (self.mode in TRIGGERED or self.started is not None):
                self._start(now_ns)
        elif rises and self.stopped is not None:
            self.started, self.stopped = clocks_of_ns(now_ns) - self.stopped, None
        if not gate and self.mode not in TRIGGERED and self.started is not None and self.stopped is None:
            self.stopped = self.clocks(now_ns)
