"""The ports by which a guest ends: exit, power off, reset."""

from __future__ import annotations

from collections.abc import Callable

from ..kvm.addresses import EXIT_PORT, I8042, I8042_DATA, RESET, SLEEP_CONTROL
from ..kvm.bus import AddressSpace
from .dsdt import SLEEP_TYPE_OFF

SLEEP_ENABLE = 1 << 5       # SLEEP_CONTROL (ACPI 6.4, 4.8.3.7); the type is in bits 2 to 4
I8042_PULSE_RESET = 0xfe    # a PC's keyboard controller resets the CPU


# All of the BIOS that there is, in real mode.  A Linux that finds reduced hardware and no EFI jumps to
# it to restart (native_machine_emergency_restart, arch/x86/kernel/reboot.c).
BIOS = bytes.fromhex("b001" "ba") + RESET.to_bytes(2, "little") + bytes.fromhex("ee" "f4" "ebfd")
"""mov $1, %al; mov $RESET, %dx; out %al, %dx; hlt; jmp to that"""


class _Port:
    """Reads 0; a write calls."""

    def __init__(self, written: Callable[[int], None] = lambda value: None):
        self._written = written

    def read(self, _offset: int, _width: int) -> int:
        return 0

    def write(self, offset: int, _width: int, value: int) -> None:
        if offset == 0:
            self._written(value & 0xff)


def add_ports(ports: AddressSpace, stop: Callable[[int], None], reset: Callable[[], None]) -> None:
    """`stop(status)` ends the guest, `reset()` starts it again."""

    def sleep(value: int) -> None:
        if value & SLEEP_ENABLE and value >> 2 & 7 == SLEEP_TYPE_OFF:
            stop(0)

    def keyboard(value: int) -> None:
        if value == I8042_PULSE_RESET:
            reset()

    ports.add(EXIT_PORT, 4, _Port(stop), "exit port")
    ports.add(SLEEP_CONTROL, 2, _Port(sleep), "sleep control and status")
    ports.add(RESET, 1, _Port(lambda _value: reset()), "reset register")
    ports.add(I8042_DATA, 1, _Port(), "keyboard controller's data")
    ports.add(I8042, 1, _Port(keyboard), "keyboard controller")
