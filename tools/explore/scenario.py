"""What is explored: who does what, and how far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """Requests of two vCPUs' drivers to one queue of a disk."""

    name: str
    requests: tuple[int, int]           # of each vCPU
    through_ring: int = 0               # a bit for each slot whose request is asynchronous; those of vCPU 1 from bit 8
    odd: int = 0                        # a bit for each slot whose request the handler declines
    event_index: bool = True
    failing: int = 0                    # a bit for each entry of the ring that comes back with an error
    script: tuple[str, ...] = ()        # what userspace does of itself: take, kick, switch, reset, give
    polled: bool = False                # the first doorbell begins looks by the ring's thread
    writes: int = 0                     # a bit for each slot whose request the native build alone does
    always: bool = False                # drivers ring whatever they were asked for
    by_ring: bool = False               # interrupts for what a collector has shown are raised through the ring
    at_once: int = 1                    # requests that a driver makes available before it rings
    rounds: int = 8                     # looks of one visit
    received: int = 0                   # buffers that userspace fills, which holds the queue as one for input
    preemptions: int = 1                # of one schedule, at most
    delays: int = 1                     # store buffers that begin to fill, at most
    long: tuple[int, int] = (2, 1)      # preemptions and delays where there is time for more

    @property
    def slots(self) -> int:
        """Those that requests are in."""
        return 8 + self.requests[1] if self.requests[1] else self.requests[0]


RING = 0xffff
SCENARIOS = [
    Scenario("two doorbells", (1, 1), preemptions=2, long=(3, 1)),
    Scenario("two doorbells, flags", (1, 1), event_index=False, preemptions=2, long=(3, 1)),
    Scenario("taken", (1, 0), script=("take",), preemptions=2, long=(3, 1)),
    Scenario("two in a row", (2, 0), preemptions=2, long=(3, 2)),
    Scenario("one is declined", (1, 1), odd=1),
    Scenario("one is declined, flags", (1, 1), odd=1, event_index=False),
    Scenario("the second is declined", (2, 0), odd=2, preemptions=2, long=(3, 1)),
    Scenario("received", (2, 0), received=2, preemptions=2, long=(3, 1)),
    Scenario("received, given", (2, 0), received=1, script=("give",), delays=0, long=(2, 0)),
    Scenario("ring", (1, 0), RING, preemptions=2, long=(3, 2)),
    Scenario("ring, flags", (1, 0), RING, event_index=False, preemptions=2, long=(3, 1)),
    Scenario("ring, error", (1, 0), RING, failing=1, preemptions=2, long=(3, 1)),
    Scenario("ring, two in a row", (2, 0), RING),
    Scenario("ring, taken", (1, 0), RING, script=("take",)),
    Scenario("ring, kicked", (1, 0), RING, script=("kick",)),
    Scenario("ring, switched", (1, 0), RING, script=("switch",)),
    Scenario("ring, reset", (1, 0), RING, script=("reset",)),
    Scenario("two doorbells, taken", (1, 1), script=("take",), delays=0),
    Scenario("ring, beside another", (1, 1), 1),
    Scenario("ring, two", (1, 1), RING, delays=0, long=(2, 0)),
    Scenario("ring, left to it", (1, 1), rounds=1, preemptions=2, delays=0, long=(3, 0)),
    Scenario("run, error", (2, 0), RING, at_once=2, failing=1),
    Scenario("run, reset", (2, 0), RING, at_once=2, script=("reset",), delays=0, long=(2, 0)),
    Scenario("run, switched", (2, 0), RING, at_once=2, script=("switch",), delays=0, long=(2, 0)),
    Scenario("assisted", (1, 1), writes=0x101, preemptions=2, long=(3, 1)),
    Scenario("assisted, beside the ring", (2, 0), RING, writes=2, at_once=2),
    Scenario("assisted, beside another", (1, 1), RING, writes=1, delays=0, long=(2, 0)),
    Scenario("assisted, taken", (1, 0), writes=1, script=("take",)),
    Scenario("assisted, switched", (2, 0), RING, writes=2, at_once=2, script=("switch",), delays=0, long=(2, 0)),
    Scenario("assisted, polled", (2, 0), event_index=False, writes=2, polled=True),
    Scenario("polled", (2, 0), polled=True),
    Scenario("polled, flags", (2, 0), event_index=False, polled=True),
    Scenario("polled, by the ring", (2, 0), event_index=False, polled=True, by_ring=True, delays=0, long=(2, 0)),
    Scenario("polled, run", (4, 0), RING, at_once=2, event_index=False, polled=True, delays=0, long=(2, 0)),
    Scenario("polled, one is declined", (2, 0), odd=2, event_index=False, polled=True, delays=0, long=(2, 0)),
    Scenario("polled, taken", (2, 0), event_index=False, polled=True, script=("take",), delays=0, long=(2, 0)),
    Scenario("polled, switched", (2, 0), event_index=False, polled=True, script=("switch",), delays=0, long=(2, 0)),
    Scenario("polled, two", (1, 1), event_index=False, polled=True, delays=0, long=(2, 0)),
    Scenario("polled, rung all the same", (2, 0), polled=True, always=True, preemptions=2, delays=0, long=(3, 1)),
    Scenario("polled, rung, flags", (2, 0), event_index=False, polled=True, always=True),
    Scenario("polled, rung, two", (1, 1), event_index=False, polled=True, always=True, delays=0, long=(2, 0)),
    Scenario("polled, rung, one is declined", (2, 0), odd=2, polled=True, always=True, delays=0, long=(2, 0)),
    Scenario("polled, rung, taken", (2, 0), polled=True, always=True, script=("take",), delays=0, long=(2, 0)),
    Scenario("polled, rung, switched", (2, 0), polled=True, always=True, script=("switch",), delays=0, long=(2, 0)),
    Scenario("polled, one look", (1, 1), event_index=False, polled=True, rounds=1, delays=0, long=(2, 0)),
]
