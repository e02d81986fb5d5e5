"""A device that does nothing, in every way a register can be served: what the benchmarks
time, and the smallest subject for tests."""

from ..schema import NOTIFY, POSTED, RO, WO, Device, reasons, reg, u32


class Probe(Device, id=0, version=1, lock=False):
    """Costs of the exit path itself; no specification but this file."""

    handled = reg(0x00, u32, "doorbell that the handler takes", access=WO, takes=NOTIFY)
    declined = reg(0x04, u32, "doorbell that the handler declines", access=WO, takes=NOTIFY)
    user = reg(0x08, u32, "write that userspace takes")
    constant = reg(0x0c, u32, "a value to read", access=RO, reset=0x600d)
    posted0 = reg(0x10, u32, "a posted value", takes=POSTED)
    posted1 = reg(0x14, u32, "a posted value", takes=POSTED)
    posted2 = reg(0x18, u32, "a posted value", takes=POSTED)
    posted3 = reg(0x1c, u32, "a posted value", takes=POSTED)
    claimed = reg(0x20, u32, "doorbell for an ioeventfd that nobody listens to", access=WO)

    decline = reasons(ASKED="it was asked to")


class ProbeRead(Device, id=0, version=1):
    """A register whose read counts, so that its page cannot be guest memory."""

    counter = reg(0x00, u32, "reads so far", access=RO, read_effect=True)


class ProbeLines(Device, id=0, version=1):
    """What a driver dances with: a status that exits when it is read, and lines that exit when they are written."""

    status = reg(0x00, u32, "whether there is something", access=RO, read_effect=True)
    data = reg(0x04, u32, "a line")
    clock = reg(0x08, u32, "another line")
    size = reg(0x0c, u32, "a value")
    command = reg(0x10, u32, "a value")
