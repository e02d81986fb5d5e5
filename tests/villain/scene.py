"""What a violation is done with: one driver on its stage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from sys import getswitchinterval, setswitchinterval
from time import monotonic

from tests.scale import SCALE
from tools.driver import ACKNOWLEDGE, DRIVER, FEATURES_OK, INDIRECT
from vmm.virtio.virtio_device import VERSION_1
from vmm.virtio.virtio_pci import ISR

from .stage import Stage
from .table import ERROR, IGNORED, NEEDS_RESET, REFUSED, SERVED, Outcome
from .victims import Villain

RACE_S = 0.03 * max(1.0, SCALE)     # that a race goes on
CONFIGURATION = 2                   # cause of an interrupt
CONFIGURATION_BYTES = 0x40          # more than any of the devices has
PAUSE_S = 0.001                     # that the other end of a wire waits for what comes
SWITCH_S = 1e-5                     # between threads of ours meanwhile


class Unexpected(Exception):
    """The device has answered otherwise than it is to."""


class Scene:
    """`victim` is the driver whose device it is about."""

    TABLE, FREE = 0x1a0000, 0x1d0000        # guest-physical: indirect tables, and memory that nothing else uses

    def __init__(self, stage: Stage, victim: Villain):
        self.stage, self.victim = stage, victim
        self.packed, self.pci = stage.setting.rings == "packed", stage.setting.transport == "pci"
        self.registers, self.memory, self.size = victim.registers, victim.memory, victim.size
        self.may_change: set[str] = set()       # of Stage.outside, as the violation writes there by right

    @property
    def ring(self):
        return self.victim.ring

    def read(self, register: str) -> int:
        return self.registers.read(register)

    def write(self, register: str, value: int) -> None:
        self.registers.write(register, value)

    @staticmethod
    def expect(what: str, found: object, wanted: object) -> None:
        """Raises Unexpected, which is a failure of the device's."""
        if found != wanted:
            raise Unexpected(f"{what}: {found!r}; wanted {wanted!r}")

    def write_nothing(self, register: str, value: int) -> None:
        """A write that is to have no effect on what is read."""
        before = self.read(register)
        self.write(register, value)
        self.expect(f"{register} after {value:#x}", self.read(register), before)

    def write_configuration(self, width: int, value: int) -> None:
        """Writes of device configuration at every offset, but for a console's emergency write, which is one (5.3.4)."""
        start = self.victim.device.transport.config
        for offset in range(CONFIGURATION_BYTES):
            if offset != self.victim.EMERGENCY_WRITE:
                self.registers.write_at(start + offset, width, value)

    def send(self, parts: list[tuple[int, int, int]] | None = None, head: int = 0) -> None:
        """A request of these buffers, or a sound one, and a doorbell."""
        self.ring.request(self.victim.parts() if parts is None else parts, head)
        self.ring.ring()

    def table(self, parts: list[tuple[int, int, int]], flags: int = 0, length: int | None = None,
              at: int | None = None) -> tuple[int, int, int]:
        """An indirect table of these buffers; the descriptor that refers to it."""
        table = self.TABLE if at is None else at
        if self.packed:
            for i, (address, size, inner) in enumerate(parts):
                self.ring.put(i, address, size, inner, 0, table)
        else:
            self.ring.chain(parts, 0, table)
        return table, 16 * len(parts) if length is None else length, INDIRECT | flags

    def outcome(self) -> Outcome:
        """What the device has made of it, by its status and by what was used."""
        if self.victim.needs_reset:
            return NEEDS_RESET
        if not self.ring.take():
            return IGNORED
        return ERROR if self.victim.failed() else SERVED

    def configuration_changed(self) -> bool:
        """Whether that is a cause of the device's last interrupts (4.1.4.5, 4.2.2)."""
        return bool(CONFIGURATION & (self.registers.read_at(ISR, 1) if self.pci else self.read("interrupt_status")))

    def negotiate(self, features: int) -> Outcome | None:
        """Reset, and accept just these: REFUSED if the device does not have that."""
        self.write("status", 0)
        self.write("status", ACKNOWLEDGE)
        self.write("status", ACKNOWLEDGE | DRIVER)
        for window in (0, 1):
            self.write("driver_features_sel", window)
            self.write("driver_features", features >> 32 * window & 0xffffffff)
        self.write("status", ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return None if self.read("status") & FEATURES_OK else REFUSED

    def accept(self, bits: int, without: int = 0) -> Outcome | None:
        """The same of what the driver usually accepts, and these."""
        return self.negotiate((self.victim.base_features | VERSION_1 | bits) & ~without)

    def command(self, kind: int, command: int, data: bytes = b"") -> Outcome:
        """A command of the network card's, and its answer (5.1.6.5)."""
        answer = self.victim.command(kind, command, data)
        return NEEDS_RESET if self.victim.needs_reset else {0: SERVED, 1: ERROR}.get(answer, IGNORED)

    def race(self, change: Callable[[], None], act: Callable[[], None]) -> None:
        """Do `act` again and again while another vCPU does `change`."""
        with self.meanwhile(change):
            deadline = monotonic() + RACE_S
            while monotonic() < deadline:
                act()
                if self.victim.needs_reset:
                    self.victim.again()

    @contextmanager
    def meanwhile(self, change: Callable[[], None]):
        """The second vCPU does `change` over and over for the block, and the wire's other end takes what comes."""
        stop = threading.Event()

        def over_and_over(what: Callable[[], None]) -> None:
            while not stop.is_set():
                what()
        interval = getswitchinterval()
        setswitchinterval(SWITCH_S)
        futures = [self.stage.second.submit(over_and_over, change)]
        if self.victim.peer:
            futures.append(self.stage.listener.submit(over_and_over, partial(self.victim.drain, PAUSE_S)))
        try:
            yield
        finally:
            stop.set()
            setswitchinterval(interval)
            for future in futures:
                future.result()
