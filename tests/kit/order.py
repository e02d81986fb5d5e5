"""A device whose registers tell in which order, and whether at all, what a guest wrote reached it."""

from vmm import RegisterDevice
from vmm.devmodel.schema import NOTIFY, POSTED, RO, W1C, Device, reasons, reg, u16, u32, u64


class Order(Device, id=0, version=1):
    """Writes that one instruction makes; no specification but this file."""

    wide = reg(0x00, u64, "in halves", takes=POSTED, halves=True, interrupts=True)
    base = reg(0x08, u64, "posted", takes=POSTED)
    bell = reg(0x10, u64, "shows what was written in seen", takes=NOTIFY)
    seen = reg(0x18, u64, "what was written to bell, or far", access=RO)
    mine = reg(0x20, u32, "userspace's")
    kick = reg(0x24, u32, "always declined, for the reason that is written; adds 1 to count", takes=NOTIFY)
    mark = reg(0x28, u32, "userspace's: has snap show count")
    count = reg(0x2c, u32, "kicks so far", access=RO)
    snap = reg(0x30, u32, "count, when mark was written", access=RO)
    flags = reg(0x34, u32, "ones clear", access=W1C, takes=POSTED, reset=0xffffffff)
    far = reg(0xfffe, u16, "at the very end: always declined", takes=NOTIFY)

    decline = reasons(ALWAYS="it is left to Python")


class OrderDevice(RegisterDevice):
    schema = Order
    handler = "order"

    def on_write_bell(self, value):
        self.page.seen = value

    def on_write_kick(self, value):
        self.page.count += 1

    def on_write_mark(self, value):
        self.page.snap = self.page.count

    def on_write_far(self, value):
        self.page.seen = value
