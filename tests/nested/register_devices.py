"""A Linux guest that takes shell commands on its serial port, with register devices that ACPI announces.

    python register_devices.py KERNEL INITRD MODE REPORT

`adder` is the example's, in MODE, and found by Python as a module of that name; the drivers of the others
are the kernel's own.  REPORT is left with what the halves of the adder did.
"""

import sys
from collections import deque
from pathlib import Path

import adder

from vmm import Machine, MachineConfig, RegisterDevice
from vmm.devmodel.schema import RO, Device, reg, u32

ACKNOWLEDGED, IDENTIFY, KEYBOARD = 0xfa, 0xf2, (0xab, 0x83)


class Stranger(Device, id=0, version=1, compatible="virtio,mmio"):
    """What the driver that is compatible with it will not have (VIRTIO 1.2, 4.2.2)."""

    magic = reg(0x00, u32, "no virtio device has this one", access=RO, reset=0x5eed1e55)


class StrangerDevice(RegisterDevice):
    schema = Stranger


class Ps2(Device, id=0, version=1, compatible="ALTR,ps2-1.0"):
    """A PS/2 port as in Altera's University Program, with a keyboard in it."""

    data = reg(0x00, u32, "a byte, and above it how many there are", read_effect=True)
    control = reg(0x04, u32, "1: interrupt when there are any")


class Ps2Device(RegisterDevice):
    """The keyboard acknowledges everything, and says what it is if it is asked."""

    schema = Ps2

    def __init__(self, name: str):
        super().__init__(name)
        self._bytes: deque[int] = deque()

    def on_write_data(self, value: int) -> None:
        self._bytes += (ACKNOWLEDGED, *(KEYBOARD if value == IDENTIFY else ()))
        if self.page.control & 1:
            self.interrupt()

    def on_read_data(self) -> int:
        there = len(self._bytes)
        return there << 16 | self._bytes.popleft() if there else 0


def main(kernel: str, initrd: str, mode: str, report: str) -> int:
    devices = [adder.AdderDevice("adder"), adder.AdderDevice("other"), StrangerDevice("stranger"),
               Ps2Device("keyboard")]
    config = MachineConfig(guest=Path(kernel), cmdline="console=ttyS0 quiet panic=-1 job=serve", initrd=Path(initrd),
                           serial="stdio", announce=False)
    with Machine(config, tuple((device, mode if device is devices[0] else "off") for device in devices)) as machine:
        status = machine.run()
        control = devices[0].state.control
        Path(report).write_text(f"{control.entry.handled} {control.user.handled}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
