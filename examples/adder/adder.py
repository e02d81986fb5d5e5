"""Adder: the schema, the Python half, and a machine to run it in.

    python adder.py [off|host|on]
"""

import sys
from pathlib import Path

from vmm import Machine, MachineConfig, RegisterDevice, UserError
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, reasons, reg, u32

HERE = Path(__file__).parent


class Adder(Device, id=0, version=1, acpi="SVMM0001"):
    """Adds two numbers; no specification but this file."""

    operand = reg(0x00, u32, "first summand", takes=POSTED)
    add = reg(0x04, u32, "second summand; writing it adds", access=WO, takes=NOTIFY, latches=("operand",))
    sum = reg(0x08, u32, "low 32 bits of the last sum", access=RO)
    carries = reg(0x0c, u32, "sums that did not fit 32 bits", access=RO)

    decline = reasons(OVERFLOW="the sum does not fit 32 bits")


class AdderDevice(RegisterDevice):
    """The Python half: what the kernel half declines, or everything with offload off."""

    schema = Adder
    handler = "adder"

    def on_write_add(self, value: int) -> None:
        total = self.latched.operand + value
        self.page.sum = total & 0xffffffff
        self.page.carries = (self.page.carries + (total >> 32)) & 0xffffffff


def main(mode: str = "on") -> int:
    """Run the guest; its status is 0 if every sum was right."""
    device = AdderDevice("adder")
    config = MachineConfig(guest=HERE / "build" / "guest.elf", memory=4 << 20)
    with Machine(config, ((device, mode),)) as machine:
        status = machine.run()
        entry, user = device.state.control.entry, device.state.control.user
        print(f"adder, offload {mode}: status {status}, added in the kernel half {entry.handled}, "
              f"in the Python half {user.handled}, declined for overflow "
              f"{entry.declined[device.layout.reasons.OVERFLOW]}, carries {device.page.carries}")
        return status


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except UserError as error:
        sys.exit(f"adder: {error}")
