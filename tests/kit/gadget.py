"""A device that has all that a schema can say of registers; what tests of it are about."""

import enum

from vmm import RegisterDevice
from vmm.device.options import choice, switch, whole
from vmm.devmodel.schema import (
    EXACT,
    KERNEL,
    NOTIFY,
    POSTED,
    RO,
    WO,
    Block,
    Device,
    RegisterFile,
    enum_of,
    memory,
    reasons,
    reg,
    regfile,
    u8,
    u16,
    u32,
    u64,
)


class Ring(RegisterFile):
    """Two of these in each channel."""

    head = reg(0x00, u16, "posted", takes=POSTED)
    tail = reg(0x04, u16, "adds what is written to head", takes=NOTIFY)
    sum = reg(0x08, u32, "head and tail", access=RO)


class Channel(RegisterFile):
    """One of three, which are 0x30 bytes apart: no power of two."""

    base = reg(0x00, u64, "posted, in halves too", takes=POSTED, halves=True)
    mask = reg(0x08, u32, "bits that are pending", access=RO, reset=0xff)
    clear = reg(0x0c, u32, "clears bits of mask", access=WO, takes=POSTED, clears="mask")
    ring = regfile(0x10, Ring, "rings", count=2, stride=0x10)


class Gadget(Device, id=0, version=1):
    """Everything; no specification but this file."""

    class Command(enum.IntEnum):
        """What there is to do."""

        SUM = 1
        PAINT = 2
        RAISE = 3

    class Mode(enum.IntEnum):
        FAST = 0
        SLOW = 2

    x = reg(0x00, u32, "posted", takes=POSTED)
    y = reg(0x04, u16, "posted", takes=POSTED)
    command = reg(0x08, enum_of(u32, Command), "does it", access=WO, takes=NOTIFY, latches=("x", "y"))
    result = reg(0x0c, u32, "of the last SUM", access=RO)
    control = reg(0x10, u32, "how", takes=POSTED, bits={"mode": (4, 2, Mode), "on": 0})
    strict = reg(0x14, u32, "whole writes alone", widths=EXACT)
    wide = reg(0x18, u64, "a doorbell in halves", takes=NOTIFY, halves=True)
    wide_user = reg(0x20, u64, "userspace's, in halves", halves=True)
    seen = reg(0x28, u64, "what was written to wide or wide_user last", access=RO)
    table = reg(0x40, u8[8], "bytes, 4 apart", stride=4, takes=POSTED)
    bells = reg(0x80, u32[3], "doorbells; the handler knows which", access=WO, takes=NOTIFY)
    last_bell = reg(0x90, u32, "index of the last, and what was written, above it", access=RO)
    channel = regfile(0x100, Channel, "channels", count=3, stride=0x30)
    port = regfile(0x1000, Ring, "on the second page", count=128, stride=0x20)
    canvas = memory(0x4000, 0x3000, "painted by command PAINT: y bytes at x")
    spare = memory(0x8000, 0x1000, "more of it")

    decline = reasons(UNKNOWN="no such command", TOO_MUCH="more than a handler paints", ODD="it is left to Python")

    class Kept(Block, writer=KERNEL):
        """The handler's own."""

        paints = u64("so many")


class GadgetDevice(RegisterDevice):
    schema = Gadget
    handler = "gadget"

    start = whole(0, 0, 100, "what result begins with")
    shape = choice("round", ("round", "square"), "how it looks")
    loud = switch(False, "whether it traces")

    def attach(self, place):
        super().attach(place)
        self.page.result = self.start

    def on_write_command(self, value):
        if self.loud:
            self.trace("command %u, %llu", value, 1 << 40)
        latched = self.latched
        if value == Gadget.Command.SUM:
            self.page.result = latched.x + latched.y & 0xffffffff
        elif value == Gadget.Command.PAINT:
            end = min(latched.x + latched.y, len(self.memory.canvas))
            self.memory.canvas[latched.x:end] = b"\xaa" * max(0, end - latched.x)
        elif value == Gadget.Command.RAISE:
            self.interrupt()

    def on_write_wide(self, value):
        self.page.seen = value

    def on_write_wide_user(self, value):
        self.page.seen = value

    def on_write_bells(self, index, value):
        self.page.last_bell = (value << 8 | index) & 0xffffffff

    def on_write_channel_ring_tail(self, channel, ring, value):
        where = self.page.channel[channel].ring[ring]
        where.sum = where.head + value

    def on_write_port_tail(self, port, value):
        self.page.port[port].sum = self.page.port[port].head + value
