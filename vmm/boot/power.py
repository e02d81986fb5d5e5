"""The ports by which a guest ends: exit, power off, reset, and pvpanic, by which its kernel says that it panicked."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..kvm.addresses import EXIT_PORT, I8042, I8042_DATA, PVPANIC, RESET, SLEEP_CONTROL
from ..kvm.bus import AddressSpace
from .dsdt import SLEEP_TYPE_OFF

log = logging.getLogger("splitvmm.power")

SLEEP_ENABLE = 1 << 5       # SLEEP_CONTROL (ACPI 6.4, 4.8.3.7); the type is in bits 2 to 4
I8042_PULSE_RESET = 0xfe    # a PC's keyboard controller resets the CPU
PANIC, CRASH_LOADED = 1, 2  # events (linux/include/uapi/misc/pvpanic.h); the second: a crash kernel takes over
PANICKED = 100              # exit status

# All of the BIOS that there is, in real mode.  A Linux that finds reduced hardware and no EFI jumps to
# it to restart (native_machine_emergency_restart, arch/x86/kernel/reboot.c).
BIOS = bytes.fromhex("b001" "ba") + RESET.to_bytes(2, "little") + bytes.fromhex("ee" "f4" "ebfd")
"""mov $1, %al; mov $RESET, %dx; out %al, %dx; hlt; jmp to that"""


class _Port:
    """Reads as `reads`; a write calls."""

    def __init__(self, written: Callable[[int], None] = lambda value: None, reads: int = 0):
        self._written, self._reads = written, reads

    def read(self, _offset: int, _width: int) -> int:
        return self._reads

    def write(self, offset: int, _width: int, value: int) -> None:
        if offset == 0:
            self._written(value & 0xff)


def add_ports(ports: AddressSpace, stop: Callable[[int], None], reset: Callable[[], None],
              panic: Callable[[int], None]) -> None:
    """`stop(status)` ends the guest, and so does `panic(status)`; `reset()` starts it again."""

    def sleep(value: int) -> None:
        if value & SLEEP_ENABLE and value >> 2 & 7 == SLEEP_TYPE_OFF:
            stop(0)

    def panicked(events: int) -> None:
        if events & PANIC:
            panic(PANICKED)
        elif events & CRASH_LOADED:
            log.warning("the guest's kernel panicked; its crash kernel takes over")

    ports.add(EXIT_PORT, 4, _Port(stop), "exit port")
    ports.add(PVPANIC, 1, _Port(panicked, reads=PANIC | CRASH_LOADED), "pvpanic")
    ports.add(SLEEP_CONTROL, 2, _Port(sleep), "sleep control and status")
    ports.add(RESET, 1, _Port(lambda _value: reset()), "reset register")


def add_reset_pulse(ports: AddressSpace, reset: Callable[[], None]) -> None:
    """All of a keyboard controller that there is where no firmware wants one: `reset()` starts the guest again."""

    def command(value: int) -> None:
        if value == I8042_PULSE_RESET:
            reset()

    ports.add(I8042_DATA, 1, _Port(), "keyboard controller's data")
    ports.add(I8042, 1, _Port(command), "keyboard controller")
