"""States in one mode, one after the other, on one trip."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from vmm.devmodel.vcpu import EXTENDED_AT
from vmm.executors.check import AVX, AVX512, SSE, X87
from vmm.executors.generated import States
from vmm.executors.kvm_tables import place_of
from vmm.executors.state import bytes_of, write_all
from vmm.executors.transfer import NotTransferable
from vmm.executors.unicorn_state import BREAKPOINTS, EVENTS

from .freedom import BYTES, WIDE, free_bits
from .trips import Differences, Trip, number

EACH = 1000         # states that differ in bits that are free; the first of them is generated anew, and checked
MOST_SHOWN = 3


@dataclass
class Found:
    """Of a mode: states that went there and back, those that differ, and those refused, with an example of each."""

    states: int = 0
    differences: int = 0
    refused: int = 0
    seconds: float = 0
    examples: list[str] = field(default_factory=list)

    def differs(self, found: Differences) -> None:
        self.differences += 1
        self._example("  ".join(f"{where}: {given:#x}, then {then:#x}" for where, given, then in found[:8]))

    def refuses(self, error: NotTransferable) -> None:
        self.refused += 1
        self._example(f"refused: {error}")

    def _example(self, text: str) -> None:
        if len(self.examples) < MOST_SHOWN:
            self.examples.append(text)


class Campaign:
    """`sysenter_bits`: see States."""

    def __init__(self, trip: Trip, mode: str, seed: int, sysenter_bits: int):
        self.trip, self.mode, self._sysenter_bits = trip, mode, sysenter_bits
        self._random = random.Random(f"{seed} {mode}")
        self._states = States(trip.base, self._random.getrandbits(32), sysenter_bits)

    def run(self, count: int, seconds: float) -> Found:
        """So many, or as many as there is time for.  A mode that KVM refuses is given up at once."""
        found, began = Found(), time.monotonic()
        while found.states < count and found.seconds < seconds and not (found.refused and not found.states):
            self._some(found, min(EACH, count - found.states))
            found.seconds = time.monotonic() - began
        return found

    def _some(self, found: Found, count: int) -> None:
        """Of one generated state, and others by its free bits."""
        fields = self._generated()
        write_all(self.trip.given, fields)
        free, base = free_bits(fields, self.mode, self.trip.components, self._sysenter_bits), number(self.trip.given)
        if self.trip.emulated:
            free &= ~(BREAKPOINTS << 8 * place_of("debug.dr7").at)
            self.trip.emulated.free = free
        for i in range(count):
            try:
                differences = self.trip.there_and_back(checked=i > 0)
            except NotTransferable as error:
                found.refuses(error)
                if not found.states:
                    return
                continue
            finally:
                bytes_of(self.trip.given)[:] = (base ^ self._flips() & free).to_bytes(BYTES, "little")
            found.states += 1
            if differences:
                found.differs(differences)

    def _flips(self) -> int:
        """Half of all bits, or an eighth, so that the edges that the generated state has stay."""
        flips = self._random.getrandbits(8 * BYTES)
        if self._random.random() < 0.5:
            flips &= self._random.getrandbits(8 * BYTES) & self._random.getrandbits(8 * BYTES)
        return flips

    def _generated(self) -> dict[str, Any]:
        """With all components that the CPU has, for every other state; for the emulator nothing that it refuses."""
        fields = self._states.next(self.mode)
        wide = sum(1 << bit for bit in self.trip.components if bit in WIDE)
        if self._random.random() < 0.5 and wide:
            fields["control"]["xcr0"] = X87 | SSE | wide & (AVX512 | AVX)
            fields["xsave"]["xstate_bv"] |= wide
            for bit in self.trip.components.keys() & WIDE.keys():
                at, size = self.trip.components[bit]
                fields["xsave"]["extended"][at - EXTENDED_AT:at - EXTENDED_AT + size] = self._random.randbytes(size)
        if self.trip.emulated:
            fields["debug"]["dr7"] &= ~BREAKPOINTS
            fields["events"] |= dict.fromkeys(EVENTS, 0)
        return fields
