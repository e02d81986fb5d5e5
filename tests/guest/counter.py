"""A device that counts, and interrupts in each of the ways that there are; counter.c is its handler."""

from vmm.device.register_device import RegisterDevice
from vmm.devmodel.schema import HOLDER, NOTIFY, POSTED, RO, WO, Block, Device, reasons, reg, u32, u64


class Counter(Device, id=0, version=1):
    """Counts; no specification but this file."""

    count = reg(0x00, u32, "increments so far", access=RO)
    increment = reg(0x04, u32, "adds what is written to count", access=WO, takes=NOTIFY)
    quiet = reg(0x08, u32, "handled, and no interrupt", access=WO, takes=NOTIFY)
    loud = reg(0x0c, u32, "handled, and an interrupt", access=WO, takes=NOTIFY)
    always = reg(0x10, u32, "an interrupt, whatever the handler says", access=WO, takes=NOTIFY, interrupts=True)
    posted = reg(0x14, u32, "stored, and an interrupt", takes=POSTED, interrupts=True)
    user = reg(0x18, u32, "userspace's, and an interrupt", interrupts=True)
    declined = reg(0x1c, u32, "declined; userspace interrupts", access=WO, takes=NOTIFY)
    report = reg(0x80, u64, "what the guest found", access=WO)

    decline = reasons(ASKED="it was asked to")

    class Total(Block, writer=HOLDER):
        """Of the side that holds the device."""

        sum = u64("increments, by both halves")


class CounterDevice(RegisterDevice):
    """The Python half: the same as the handler."""

    schema = Counter
    handler = "counter"

    def __init__(self, name="counter"):
        super().__init__(name)
        self.reported = []

    def on_write_increment(self, value):
        self.page.count = self.page.count + value & 0xffffffff
        self.state.total.sum += value

    def on_write_quiet(self, value):
        pass

    def on_write_loud(self, value):
        self.interrupt()

    def on_write_always(self, value):
        pass

    def on_write_declined(self, value):
        self.interrupt()

    def on_write_report(self, value):
        self.reported.append(value)
