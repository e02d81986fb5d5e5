"""What the exit path itself shares with userspace: routes, guest memory's shape, declines.

One table of routes decides what becomes of a guest's write.  The BPF dispatcher has it
as a hash map, the native one as an array; key and value are these structs in both.
"""

from __future__ import annotations

import enum
from functools import cache

from .layout import compose, layout_block
from .schema import KERNEL, USER, Block, enum_of, nested, u8, u16, u32, u64

DECLINES = 1024     # a string instruction is emulated at most so often before KVM looks for signals
VMS = 1024          # of one host, with offload on
DEVICES = 64        # of one VM
PAGES = 256         # register pages of all of them
ROUTES = 4096       # writes that the exit path takes of all of them
VCPUS = 64
REGION_SHIFT = 29   # a pointer into one map element reaches 512 MiB at most (BPF_MAX_VAR_OFF)
SIGNAL = 36         # real-time, so that it queues; blocked except inside KVM_RUN
UPCALL = 0xffff         # in place of an access's width: no write, look at queue `value`
RAISE = 0xfffe          # the same: the write of register `value` is done, raise the device's line
COLLECT_ADDRESS = 0xfee00000 | 0xfe << 12   # of messages that only have a queue collected: local APIC 0xfe, no vCPU's
COLLECT_VECTOR = 0x20       # and the data of queue 0's; of others what follows
MESSAGE_OWNER_SHIFT = 16    # in the data of a message: above it, the slot of the device that it is of, plus 1
UPCALLS_BYTES = 1 << 16     # of the ring buffer by which the exit path calls userspace
TRACES_BYTES = 256 << 10    # of the one by which handlers say what they do, if anybody listens
TRACE_TEXT = 120    # bytes of one line, the 0 at its end included
CHUNK = 256 << 10   # bytes copied by one helper call; map elements of guest RAM end in as much slack


class Bus(enum.IntEnum):
    MMIO = 0
    PORT = 1


class Action(enum.IntEnum):
    POSTED = 1      # store the value in the device's page
    CLEAR = 2       # clear its one bits in the page
    NOTIFY = 3      # run the device's handler
    WATCH = 4       # tell userspace, and let KVM do what it does
    IGNORE = 5      # taken, and nothing done


class Verdict(enum.IntEnum):
    TO_USER = 0             # not ours, or declined
    HANDLED = 1             # done
    HANDLED_INTERRUPT = 2   # done, and the device interrupts
    TO_USER_INTERRUPT = 3   # it interrupts, and userspace has something to do


class Half(enum.IntEnum):
    """Who does something: a build of a handler, or the Python half."""

    KERNEL = 0
    NATIVE = 1
    PYTHON = 2


class Traced(Block):
    """A line of trace()."""

    device = u32("slot of the device")
    half = enum_of(u32, Half)("who says it")
    text = u8[TRACE_TEXT]("what it says, ended by 0")


class RouteKey(Block):
    """An access, exactly: another width at the same address is another key."""

    address = u64("guest-physical address or port")
    bus = enum_of(u32, Bus)("which of the two")
    width = u32("size of the access", unit="bytes")


class Route(Block):
    """What becomes of it."""

    device = u32("slot of the device, and of its program")
    action = enum_of(u16, Action)("what to do")
    offset = u16("register written, from the device's base", unit="bytes")
    target = u16("register that a CLEAR acts on, on the same page", unit="bytes")
    interrupts = u16("1: the device interrupts whenever this is handled")
    page = u32("element of `pages` that the register lies in")


class Access(Block):
    """One write by the guest, as its handler sees it."""

    value = u64("what was written, zero-extended")
    device = u32("slot of the device")
    offset = u16("register written, from the device's base", unit="bytes")
    width = u16("size of the access", unit="bytes")


class Declined(Block):
    """A write that goes up to userspace, in order, exactly once."""

    access = nested(Access)("the write")
    reason = u32("the device's reason; 0 for a write that follows a declined one")
    reserved = u32("to a multiple of 8")


class Outbox(Block, writer=KERNEL):
    """One vCPU's declines: written by its own thread on the exit path, read when KVM_RUN returns."""

    head = u32("declines written, free running")
    lost = u32("declines that found the ring full; 0 unless something is badly wrong")
    ring = nested(Declined)[DECLINES]("the declines")


class Inbox(Block, writer=USER):
    """The reading side of it."""

    tail = u32("declines read, free running")
    reserved = u32("to a multiple of 8")


class MachineKernel(Block, writer=KERNEL):
    """Which exits are this VM's, and whether any of its declines is still to be read."""

    process = u32("thread group of the vCPUs, as the kernel numbers it")
    declined = u32("declines of all vCPUs, free running, atomic")


class MachineUser(Block, writer=USER):
    """The reading side of it."""

    declined = u32("declines read, free running, atomic")
    reserved = u32("to a multiple of 8")


class MemoryLayout(Block):
    """Guest RAM as the exit path finds it: one run of bytes with a hole below 4 GiB."""

    bytes = u64("guest RAM in all", unit="bytes")
    low = u64("of it, below the hole: guest-physical 0 to here", unit="bytes")
    high = u64("where the rest starts", unit="guest-physical address")
    element = u64("guest RAM in one map element", unit="bytes")
    shift = u64("log2 of that, where there are several elements")


@cache
def vcpu_layout():
    return compose("vcpu_exits", "vcpu exits", "what one vCPU's thread and its exit path share", [
        ("outbox", layout_block(Outbox), None, "declines, written on the exit path"),
        ("inbox", layout_block(Inbox), None, "how far userspace has read them"),
    ])


@cache
def machine_layout():
    return compose("machine_exits", "machine exits", "what a VM's exit path and userspace share", [
        ("kernel", layout_block(MachineKernel), None, "written on the exit path"),
        ("user", layout_block(MachineUser), None, "how far userspace has read"),
    ])


STRUCTS = (RouteKey, Route, MemoryLayout, Traced)
ENUMS = (Bus, Action, Verdict, Half)
CONSTANTS = {"DECLINES": DECLINES, "VMS": VMS, "DEVICES": DEVICES, "PAGES": PAGES, "ROUTES": ROUTES, "VCPUS": VCPUS,
             "REGION_SHIFT": REGION_SHIFT, "CHUNK": CHUNK, "DECLINE_SIGNAL": SIGNAL, "UPCALLS_BYTES": UPCALLS_BYTES,
             "TRACES_BYTES": TRACES_BYTES, "TRACE_TEXT": TRACE_TEXT, "UPCALL": UPCALL, "RAISE": RAISE,
             "MESSAGE_OWNER_SHIFT": MESSAGE_OWNER_SHIFT, "COLLECT_ADDRESS": COLLECT_ADDRESS,
             "COLLECT_VECTOR": COLLECT_VECTOR}
