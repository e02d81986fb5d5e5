"""A guest of QEMU's device: the steps of ours, one request at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from ...devmodel.view import ffi
from ...testing.driver import DRIVER_OK, NEEDS_RESET
from ...virtio.virtio_device import EVENT_IDX, RING_PACKED
from ..driver import Unstarted
from ..guest import Area
from ..steps import Step
from ..virtio_guest import FREE, VirtioGuest
from .known import HANGS
from .machine import QemuMachine
from .qtest import QemuGone
from .rings import HeldPacked, HeldSplit

WAIT_S = 5.0            # for what ours has done already
OF_A_QUEUE = ("queue_num", "queue_ready", "queue_driver_low")


class QemuDriver(Unstarted):
    machine: Any                # a QemuMachine
    SPLIT, PACKED = HeldSplit, HeldPacked

    def start(self, ready: bool = True) -> None:
        super().start(False)
        self.machine.window.set_vectors()
        if ready:
            self.make_ready()

    def place(self, ring: Any) -> int:
        self.registers.write("queue_sel", ring.index)
        self.machine.window.set_vector(ring.index)
        return super().place(ring)

    def mask(self, number: int, masked: bool) -> None:
        self.machine.window.mask(number, masked)

    def unset(self, queue: int) -> None:
        self.registers.write("queue_sel", queue)
        self.machine.window.unset_vector()


class QemuGuest(VirtioGuest):
    """Goes before the guest of a strategy; `ours`, which is served by Python, has always done the step already.

    Once a rule is broken the two need not agree until the driver resets the device: `astray` says why, and QEMU is left
    alone until then."""

    DRIVER = QemuDriver
    machine: Any                # a QemuMachine

    def __init__(self, machine: QemuMachine, ours: VirtioGuest, *ends: Any):
        self.ours, self.status, self.astray, self.gone = ours, 0, "", ""
        self.met: Counter[str] = Counter()      # known differences, by name
        self.used = 0                           # requests
        self._cause = self._before = 0
        self._rounds = 0        # of all rings
        self._ours_used = 0
        self.first = False      # whether, with EVENT_IDX, one has just begun
        self._live = self._ready = False
        super().__init__(machine, machine.device, *ends)       # type: ignore[arg-type]  # they do what is asked of them

    # steps

    def begin(self) -> None:
        self.first = False
        if not self.astray:
            super().begin()

    def play(self, step: Step) -> Any:
        returned = None
        try:
            if self._resets(step):
                self._start_over()
            elif why := self._breaks(step):
                self.astray = self.astray or why
            if not self.astray:
                returned = super().play(step)
                self._catch_up()
        except QemuGone:
            self._is_gone()
        self._before = self.ours.device.page.status
        self._ready = any(queue.ready for queue in self.ours.device.queues)
        return returned

    @staticmethod
    def _resets(step: Step) -> bool:
        return step.kind in ("setup", "reset") or step == Step("write", {"register": "status", "value": 0})

    def _start_over(self) -> None:
        """A reset: no request is in flight when it is done, and memory and image can be made those of ours again."""
        self.registers.write("status", 0)
        self.machine.qemu.qtest.flush()
        was_astray, self.astray = self.astray, ""
        if was_astray:
            super().begin()
            for area in self.areas:
                ffi.memmove(ffi.cast("char *", area.address), ffi.cast("char *", self._same(area).address), area.size)
        self._cause, self._live, self.status = 0, False, 0
        self._rounds = 0
        self.machine.window.interrupts()
        self.machine.qemu.said()

    def _same(self, area: Area) -> Area:
        return next(each for each in self.ours.areas if each.name == area.name)

    def _breaks(self, step: Step) -> str:
        """Which rule a driver breaks with it, where ours and QEMU need not agree."""
        if step.kind != "write":
            return ""
        register, value = step.given["register"], step.given["value"]
        if register == "status" and self._before & ~NEEDS_RESET & ~value:
            return "status-cleared"
        if register in OF_A_QUEUE and self._ready:
            return "live-queue"
        return ""

    def _catch_up(self) -> None:
        """Where ours has begun to serve, and looked at the queues, the driver rings."""
        was, self._live = self._live, bool(self.ours.device.page.status & DRIVER_OK)
        if self._live and not was:
            self.switch()

    def ring(self, queue: int) -> None:
        self.make_available(queue)
        self._serve(queue)

    def _serve(self, queue: int) -> None:
        """Have it look at a queue."""
        if not self._live:
            return      # QEMU would serve before DRIVER_OK
        ring, ours = self.driver.rings[queue], self.ours.driver.rings[queue]
        if not ring.held:
            self.registers.write("queue_notify", queue)
        while ring.held:
            if isinstance(ring, HeldPacked) and self._ours_is_broken and not ring.next_is_used_by(ours):
                self.astray = HANGS.name        # as QEMU would now
                self.met[HANGS.name] += 1
                return
            one = ring.show_next(ours)
            self.registers.write("queue_notify", queue)
            if one and not self._until(ring.next_is_used):
                return

    def write(self, register: str, value: int) -> None:
        if register == "queue_notify":
            if value < len(self.driver.rings):
                self._serve(value)
        elif register == "interrupt_ack":
            self._cause &= ~value
        elif register != "status" or value:
            super().write(register, value)

    def reset(self) -> None:
        """Done already."""

    def acknowledge(self) -> None:
        self._cause = 0

    def take(self, queue: int = 0) -> None:
        """What ours has a look at, the driver rings for."""
        if self.driver:
            self._serve(queue)

    def switch(self) -> None:
        for ring in self._rings():
            self._serve(ring.index)

    def evict(self) -> None:
        """Of ours alone."""

    @property
    def _ours_is_broken(self) -> bool:
        return bool(self.ours.device.page.status & NEEDS_RESET)

    # what is seen

    def settle(self) -> None:
        """Wait until it has used what ours has used, unless that was ended by a broken rule, or needs a reset."""
        try:
            if not self.astray and not self.gone:
                self._until(lambda: not self._live or self._ours_is_broken or self.has_used_the_same())
                for _ in range(3):      # a packet is sent by what runs between two commands
                    self._look()
        except QemuGone:
            self._is_gone()

    def count_used(self) -> None:
        """What ours has used by now, which is what QEMU has."""
        used = sum(count for name, count in self.ours.values().items() if name.endswith("requests"))
        self.used += max(0, used - self._ours_used)
        self._ours_used = used

    def has_used_the_same(self) -> bool:
        """All queues, as far as a driver can see."""
        return all(ring.used_by(self.machine.memory)[0] == ring.used_by(self.ours.machine.memory)[0]
                   for ring in self._rings())

    def _rings(self) -> list[Any]:
        return self.driver.rings if self.driver else []

    def _until(self, done: Callable[[], bool]) -> bool:
        """Whether it was done in time."""
        deadline = monotonic() + WAIT_S
        while not done():
            self._look()
            if self.status & NEEDS_RESET or monotonic() > deadline:
                return done()
        return True

    def _look(self) -> None:
        self.status = self.machine.window.look()

    def _is_gone(self) -> None:
        rings = "packed" if self.driver and self.driver.features & RING_PACKED else "split"
        self.gone = f"{self.device.name}, {rings} rings: {self.machine.qemu.how_it_ended()}"

    def start_again(self) -> None:
        """QEMU itself, which is gone."""
        self.machine.qemu.close()
        self.machine.start()
        self.gone = ""

    def interrupted(self) -> list[bool]:
        if self.gone:
            return []
        lines, cause = self.machine.window.interrupts()
        self._cause |= cause
        before, self._rounds = self._rounds, sum(ring.rounds() for ring in self._rings())
        self.first |= self._rounds > before and bool(self.driver.features & EVENT_IDX)
        return lines

    @property
    def cause(self) -> int:
        return self._cause

    def forget(self, cause: int) -> None:
        """Have this one in its place."""
        self._cause = cause

    def values(self) -> dict[str, Any]:
        return {} if self.gone or self.astray else self.seen()

    def _areas(self) -> Iterator[Area]:
        memory = self.machine.memory
        yield Area("memory", memory.address + FREE, memory.size - FREE, self.tell_memory)
        if image := self.machine.image:
            yield Area("image", int(ffi.cast("uintptr_t", ffi.from_buffer(image))), len(image), self.tell_memory)

    @property
    def declined(self) -> dict[str, int]:
        return dict(self.met)

    @property
    def handled(self) -> int:
        return self.used


def guest_of(kind: type[VirtioGuest]) -> type[QemuGuest]:
    """The guest of a strategy, on QEMU."""
    return type(f"Qemu{kind.__name__}", (QemuGuest, kind), {})
