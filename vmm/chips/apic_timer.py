"""A local APIC's timer (Intel SDM 3, 11.5.4): one-shot, periodic, or at a deadline of the time-stamp counter."""

from __future__ import annotations

from collections.abc import Callable

from .clock import TSC_MASK, Clock, Deadlines

BUS_NS = 1                          # of one count before division: KVM's bus has 1 GHz (KVM_CAP_X86_APIC_BUS_CYCLES_NS)
LEAST_PERIOD_NS = 200_000           # whatever a guest asks for, as with KVM (min_timer_period_us)
ONE_SHOT, PERIODIC, DEADLINE = range(3)         # modes: bits 17 and 18 of the LVT entry; 3 is reserved


class ApicTimer:
    """`expired` is told each time; where several periods went by unseen, once for all of them."""

    def __init__(self, clock: Clock, deadlines: Deadlines, expired: Callable[[], None]):
        self._clock, self._deadlines, self._expired = clock, deadlines, expired
        self.tsc_offset = 0             # of the vCPU, in ticks
        self.stop()
        self.mode = ONE_SHOT
        self.divisor = 2

    def stop(self) -> None:
        """As it is after INIT: it does not run, and has no count."""
        self.initial = 0                # count
        self.deadline = 0               # tick of the time-stamp counter; 0 for none
        self._set_target(None)

    def _set_target(self, at_ns: int | None) -> None:
        self._target_ns = at_ns
        self._deadlines.set(self, at_ns)

    @property
    def _period_ns(self) -> int:
        period_ns = self.initial * self.divisor * BUS_NS
        return max(period_ns, LEAST_PERIOD_NS) if period_ns and self.mode == PERIODIC else period_ns

    def set_mode(self, mode: int) -> None:
        """Between deadlines and counts it stops (SDM 3, 11.5.4.1); between one-shot and periodic it runs on."""
        self.tick(self._clock.ns())
        if (mode == DEADLINE) != (self.mode == DEADLINE):
            self.stop()
        self.mode = mode

    def set_initial(self, count: int) -> None:
        """Start with that count; 0 stops it.  With deadlines there is none."""
        if self.mode == DEADLINE:
            return
        now_ns = self._clock.ns()
        self.tick(now_ns)
        self.initial = count
        runs = count and self.mode in (ONE_SHOT, PERIODIC)
        self._set_target(now_ns + self._period_ns if runs else None)

    def set_divisor(self, divisor: int) -> None:
        """What is left of the count is kept."""
        now_ns = self._clock.ns()
        self.tick(now_ns)
        old, self.divisor = self.divisor, divisor
        if self._target_ns is not None and self.mode != DEADLINE:
            self._set_target(now_ns + (self._target_ns - now_ns) * divisor // old)

    def set_deadline(self, tick: int) -> None:
        """IA32_TSC_DEADLINE: a tick that is over expires at once; 0 stops it.  In other modes nothing happens."""
        if self.mode != DEADLINE:
            return
        now_ns = self._clock.ns()
        self.tick(now_ns)
        self.deadline = tick
        if not tick:
            self._set_target(None)
            return
        left = tick - (self._clock.tsc(now_ns) + self.tsc_offset & TSC_MASK)
        self._set_target(now_ns + self._clock.ns_of_ticks(max(0, left)))
        if left <= 0:
            self.tick(now_ns)

    def current(self) -> int:
        """The count that is left."""
        period_ns = self._period_ns
        if self._target_ns is None or self.mode == DEADLINE or not period_ns:
            return 0
        left_ns = self._target_ns - self._clock.ns()
        left_ns = (left_ns - 1) % period_ns + 1 if self.mode == PERIODIC else max(0, left_ns)
        return left_ns // (self.divisor * BUS_NS)

    def tick(self, now_ns: int) -> None:
        """It has expired, if that time has come."""
        if self._target_ns is None or now_ns < self._target_ns:
            return
        period_ns = self._period_ns
        if self.mode == PERIODIC and period_ns:
            missed = (now_ns - self._target_ns) // period_ns
            self._set_target(self._target_ns + (missed + 1) * period_ns)
        else:
            self.deadline = 0
            self._set_target(None)
        self._expired()

    def resume(self, initial: int, current: int) -> None:
        """Go on from a state that was taken.  A one-shot count of 0 expires at once: KVM takes it while what has
        expired may have yet to be delivered, and does the same (__start_apic_timer, arch/x86/kvm/lapic.c)."""
        self.set_initial(initial)
        if self._target_ns is None or (not current and self.mode == PERIODIC):
            return
        now_ns = self._clock.ns()
        self._set_target(now_ns + min(current * self.divisor * BUS_NS, self._period_ns))
        self.tick(now_ns)
