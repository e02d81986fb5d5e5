"""The 8254 timer of a PC, and port 0x61, by which its third counter is gated and heard."""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock, Deadlines
from .pit_channel import PERIODIC, Channel

PORTS, CONTROL, SPEAKER = 0x40, 3, 0x61
LEAST_PERIOD_NS = 200_000           # of interrupts, whatever a guest asks for, as with KVM (min_timer_period_us)
REFRESH_SHIFT = 14                  # the refresh bit toggles each 2^14 ns; on a PC it is 15.1 us


class Pit:
    """All three counters; the output of counter 0 is interrupt 0, which `pulse` raises."""

    def __init__(self, clock: Clock, deadlines: Deadlines, pulse: Callable[[], None]):
        self.channels = [Channel(gate=True), Channel(gate=True), Channel(gate=False)]
        self._clock, self._deadlines, self._pulse = clock, deadlines, pulse
        self._due_ns: int | None = None

    def tick(self, now_ns: int) -> None:
        """The output of counter 0 has risen, if it is time.  Where it did so more than once, it is one interrupt."""
        if self._due_ns is None or now_ns < self._due_ns:
            return
        self._pulse()
        self.arm(now_ns, now_ns + LEAST_PERIOD_NS)

    def arm(self, now_ns: int, earliest_ns: int = 0) -> None:
        """Work out when the output of counter 0 rises next; of periodic ones, not before `earliest_ns`."""
        at_ns = self.channels[0].next_edge_ns(now_ns)
        if at_ns is not None and self.channels[0].mode in PERIODIC:
            at_ns = max(at_ns, earliest_ns)
        self._due_ns = at_ns
        self._deadlines.set(self, at_ns)

    def read(self, offset: int, width: int) -> int:
        """A byte, whatever the width.  The control port cannot be read."""
        return self.channels[offset].read(self._clock.ns()) if offset < CONTROL else 0

    def write(self, offset: int, width: int, value: int) -> None:
        """Its lowest byte, whatever the width."""
        value, now_ns = value & 0xff, self._clock.ns()
        self.tick(now_ns)
        if offset != CONTROL:
            self.channels[offset].write(value, now_ns)
        elif value >> 6 == 3:
            self._read_back(value, now_ns)
        elif access := value >> 4 & 3:
            self.channels[value >> 6].control(access, value >> 1 & 7, bool(value & 1))
        else:
            self.channels[value >> 6].latch_count(now_ns)
        self.arm(now_ns)

    def _read_back(self, command: int, now_ns: int) -> None:
        """Read-back command: latches of any of the counters."""
        for number, channel in enumerate(self.channels):
            if command & 2 << number:
                if not command & 0x20:
                    channel.latch_count(now_ns)
                if not command & 0x10:
                    channel.latch_status(now_ns)


class SpeakerPort:
    """Port 0x61 (82371SB, 2.5.4): gate of counter 2, whether the speaker gets its output, that output, and a bit
    that toggles as memory is refreshed."""

    def __init__(self, pit: Pit, clock: Clock):
        self._channel, self._clock, self.speaker = pit.channels[2], clock, False

    def read(self, offset: int, width: int) -> int:
        now_ns = self._clock.ns()
        channel = self._channel
        return (channel.gate | self.speaker << 1 | (now_ns >> REFRESH_SHIFT & 1) << 4 | channel.output(now_ns) << 5)

    def write(self, offset: int, width: int, value: int) -> None:
        self.speaker = bool(value & 2)
        self._channel.set_gate(bool(value & 1), self._clock.ns())
