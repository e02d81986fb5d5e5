"""Adder: the schema, and the Python half."""

from vmm import RegisterDevice
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, reasons, reg, u32


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
