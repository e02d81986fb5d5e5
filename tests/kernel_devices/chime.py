"""A device with a register for each way that the dispatcher has of serving a write."""

from vmm import RegisterDevice
from vmm.devmodel.schema import NOTIFY, POSTED, RO, WO, Device, reasons, reg, u8, u16, u32, u64


class Chime(Device, id=0, version=1, lock=False):
    """Doorbells side by side, so that one instruction rings several; no specification but this file."""

    posted8 = reg(0x00, u8, "posted", takes=POSTED)
    posted16 = reg(0x02, u16, "posted", takes=POSTED)
    posted32 = reg(0x04, u32, "posted", takes=POSTED)
    posted64 = reg(0x08, u64, "posted", takes=POSTED)
    taken = reg(0x10, u64, "the handler takes it, and shows it", takes=NOTIFY)
    left = reg(0x18, u64, "the handler leaves it", takes=NOTIFY)
    after = reg(0x20, u64, "posted", takes=POSTED)
    ignored = reg(0x28, u64, "nobody's, as the tests have it")
    last = reg(0x30, u64, "left as well", takes=NOTIFY)
    user = reg(0x38, u64, "userspace's")
    port = reg(0x40, u32, "the handler takes it, from a port", takes=NOTIFY)
    loud = reg(0x44, u32, "the handler takes it, says so, and interrupts", takes=NOTIFY)
    raised = reg(0x48, u32, "posted; each write interrupts", takes=POSTED, interrupts=True)
    cause = reg(0x4c, u32, "bits that stay until they are acknowledged", access=RO, reset=0xff)
    acknowledge = reg(0x50, u32, "clears bits of cause", access=WO, takes=POSTED, clears="cause")
    shown = reg(0x58, u64, "what was written to taken last", access=RO)

    decline = reasons(ASKED="it was asked to")


def kept(register):
    """A write is noted, and nothing done."""
    return lambda device, value: device.seen.append((register, value))


class ChimeDevice(RegisterDevice):
    """Notes what reaches the Python half, in order: (register, value)."""

    schema = Chime
    handler = "chime"

    def __init__(self, name):
        super().__init__(name)
        self.seen = []

    on_write_taken, on_write_left, on_write_last = kept("taken"), kept("left"), kept("last")
    on_write_ignored, on_write_user = kept("ignored"), kept("user")
    on_write_port, on_write_loud = kept("port"), kept("loud")
