"""Drivers in Python, in the guest's place: they drive devices of a machine without vCPUs.

Plain enough to be obviously right, and able to do what no honest driver would: every
descriptor and index can be written at will.
"""

from __future__ import annotations

import difflib
import struct
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import ClassVar

from ..device.register_device import RegisterDevice
from ..devmodel.layout import PAGE
from ..machine.machine import Machine
from ..virtio.virtio_device import INDIRECT_DESC, RING_PACKED, VERSION_1, VirtioDevice
from ..virtio.virtio_pci import DOORBELLS, PciTransport

NEXT, WRITE, INDIRECT = 1, 2, 4
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64


class Registers:
    """A device's registers, by name, as a guest reaches them: `read("sum")`, `write("channel[2].start", 1)`."""

    def __init__(self, machine: Machine, device: RegisterDevice):
        self.machine, self.device, self.memory = machine, device, machine.memory
        self._registers = device.registers.registers

    def _place(self, name: str) -> tuple[int, int]:
        """Address and width.  Raises KeyError, with the names that there are."""
        register = self._registers.get(name)
        if register is None:
            near = difflib.get_close_matches(name, self._registers, 3) or list(self._registers)[:10]
            raise KeyError(f"{self.device.name} has no register {name}; wanted one of its own, as {', '.join(near)}")
        return self.device.place.at(register.offset), register.type.size

    def read(self, name: str) -> int:
        return self.machine.guest_read(self.device.place.bus, *self._place(name))

    def write(self, name: str, value: int) -> int:
        """Whether the kernel half did it: 0 if it went to the Python half."""
        address, width = self._place(name)
        if name == "queue_notify" and isinstance(getattr(self.device, "transport", None), PciTransport):
            address = self.device.place.at(DOORBELLS + PAGE * value)
        return min(1, self.machine.guest_write(self.device.place.bus, address, width, value))

    def read_at(self, offset: int, width: int) -> int:
        """Any access: `width` bytes at `offset` from the device's base."""
        return self.machine.guest_read(self.device.place.bus, self.device.place.at(offset), width)

    def write_at(self, offset: int, width: int, value: int) -> int:
        return min(1, self.machine.guest_write(self.device.place.bus, self.device.place.at(offset), width, value))

    @property
    def interrupts(self) -> int:
        """How many interrupts the device's first line has raised so far."""
        return self.machine.interrupts_of(self.device.place.lines[0].gsi)

    @property
    def declined(self) -> dict[str, int]:
        """Doorbells that the kernel half declined, by the reason's name."""
        counts = self.device.state.control.entry.declined
        return {reason.name: counts[reason] for reason in self.device.layout.reasons if counts[reason]}


class Ring:
    """One queue in guest memory, split: `desc`, `avail` and `used` are its three areas."""

    def __init__(self, driver: Driver, index: int, size: int, base: int):
        self.memory, self.registers, self.index, self.size = driver.memory, driver.registers, index, size
        self.queue, self.lock = driver.device.queues[index], driver.device.lock     # to see what is in flight
        self.desc, self.avail, self.used = base, base + 0x1000, base + 0x2000
        self.seen = self.offered = 0

    def put(self, index: int, address: int, length: int, flags: int = 0, following: int = 0,
            table: int | None = None) -> None:
        """Write one descriptor, of the ring's table or an indirect one."""
        at = (self.desc if table is None else table) + 16 * index
        self.memory.write(at, struct.pack("<QIHH", address & (1 << 64) - 1, length, flags, following))

    def chain(self, parts: list[tuple[int, int, int]], first: int = 0, table: int | None = None) -> None:
        """Descriptors `first`, first + 1, ... for (address, length, flags), linked."""
        for i, (address, length, flags) in enumerate(parts):
            last = i == len(parts) - 1
            self.put(first + i, address, length, flags | (0 if last else NEXT),
                     0 if last else first + i + 1, table)

    def offer(self, head: int) -> None:
        """Make a chain available."""
        self.memory.write_u16(self.avail + 4 + 2 * (self.offered % self.size), head)
        self.offered = (self.offered + 1) & 0xffff
        self.publish()

    def publish(self) -> None:
        """Write the avail index."""
        self.memory.write_u16(self.avail + 2, self.offered)

    def request(self, parts: list[tuple[int, int, int]], head: int = 0) -> None:
        """Make a chain of these buffers available, known as `head`."""
        self.chain(parts, head)
        self.offer(head)

    def ring(self) -> int:
        verdict = self.registers.write("queue_notify", self.index)
        self.settle()
        return verdict

    def settle(self, timeout_s: float = 20) -> None:
        """Wait for what is in flight: a request in the ring is released before it is shown, by
        who is still inside then."""
        deadline = monotonic() + timeout_s
        uring, entry = self.queue.uring, self.queue.state.entry
        while (flying := uring.flying if uring else 0) or entry.active:
            assert monotonic() < deadline, f"{flying} requests in flight after {timeout_s} s"
            sleep(0.0001)
        with self.lock:
            pass

    def used_index(self) -> int:
        return self.memory.read_u16(self.used + 2)

    def take(self) -> list[tuple[int, int]]:
        """(id, length) of what has been used since the last call."""
        found = []
        while self.seen != self.used_index():
            at = self.used + 4 + 8 * (self.seen % self.size)
            found.append(struct.unpack("<II", self.memory.read(at, 8)))
            self.seen = (self.seen + 1) & 0xffff
        return found

    def avail_event(self) -> int | tuple[int, int]:
        return self.memory.read_u16(self.used + 4 + 8 * self.size)

    def set_used_event(self, value: int) -> None:
        self.memory.write_u16(self.avail + 4 + 2 * self.size, value)

    def set_no_interrupt(self, on: bool) -> None:
        self.memory.write_u16(self.avail, int(on))


class PackedRing(Ring):
    """The same, packed (VIRTIO 1.2, 2.8): `avail` and `used` are the driver's and the device's event
    areas.  `place` is where the next descriptor goes, `wrap` the driver's wrap counter."""

    AVAIL, USED = 1 << 7, 1 << 15
    ENABLE, DISABLE, AT_DESCRIPTOR = 0, 1, 2

    def __init__(self, driver: Driver, index: int, size: int, base: int):
        super().__init__(driver, index, size, base)
        self.place, self.wrap, self.used_place, self.used_wrap = 0, True, 0, True
        self.slots: dict[int, int] = {}         # id -> places that its chain takes

    def put(self, index: int, address: int, length: int, flags: int = 0, following: int = 0,
            table: int | None = None) -> None:
        """`following` is the descriptor's id here; `flags` are as they are to be."""
        at = (self.desc if table is None else table) + 16 * index
        self.memory.write(at, struct.pack("<QIHH", address & (1 << 64) - 1, length, following, flags))

    def mark(self, wrap: bool | None = None) -> int:
        """The flags of an available descriptor."""
        return self.AVAIL if (self.wrap if wrap is None else wrap) else self.USED

    def request(self, parts: list[tuple[int, int, int]], head: int = 0) -> None:
        """The first descriptor's flags go last, as that makes it available."""
        self.slots[head] = len(parts)
        start, first = self.place, 0
        for i, (address, length, flags) in enumerate(parts):
            flags |= self.mark() | (0 if i == len(parts) - 1 else NEXT)
            self.put(self.place, address, length, 0 if i == 0 else flags, head)
            first = flags if i == 0 else first
            self._step()
        self.show(start, first)

    def show(self, place: int, flags: int) -> None:
        """Write a descriptor's flags."""
        self.memory.write_u16(self.desc + 16 * place + 14, flags)

    def _step(self) -> None:
        self.place += 1
        if self.place == self.size:
            self.place, self.wrap = 0, not self.wrap

    def take(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        while True:
            _, length, head, flags = struct.unpack("<QIHH", self.memory.read(self.desc + 16 * self.used_place, 16))
            if bool(flags & self.AVAIL) != self.used_wrap or bool(flags & self.USED) != self.used_wrap:
                return found
            found.append((head, length))
            self.used_place += self.slots[head]
            if self.used_place >= self.size:
                self.used_place, self.used_wrap = self.used_place - self.size, not self.used_wrap

    def avail_event(self) -> tuple[int, int]:
        """(place and wrap counter, flags) of the device's event area."""
        return struct.unpack("<HH", self.memory.read(self.used, 4))

    def set_event(self, flags: int, place: int = 0, wrap: bool = True) -> None:
        """What the driver wants interrupts for."""
        self.memory.write(self.avail, struct.pack("<HH", place | wrap << 15, flags))

    def set_no_interrupt(self, on: bool) -> None:
        self.set_event(self.DISABLE if on else self.ENABLE)


@dataclass
class Driver:
    """Negotiates and sets up every queue."""

    machine: Machine
    device: VirtioDevice
    features: int = INDIRECT_DESC
    size: int = 16
    rings: list[Ring] = field(default_factory=list)

    RINGS = 0x10000     # guest-physical; 16 KiB for each queue's rings
    SPLIT: ClassVar[type[Ring]] = Ring
    PACKED: ClassVar[type[PackedRing]] = PackedRing

    def __post_init__(self):
        self.memory = self.machine.memory
        self.registers = Registers(self.machine, self.device)
        self.start()

    def start(self, ready: bool = True) -> None:
        """Reset and set up (VIRTIO 1.2, 3.1.1), up to DRIVER_OK if `ready`."""
        regs = self.registers
        regs.write("status", 0)
        regs.write("status", ACKNOWLEDGE)
        regs.write("status", ACKNOWLEDGE | DRIVER)
        for window, bits in ((0, self.features & 0xffffffff), (1, (self.features | VERSION_1) >> 32)):
            regs.write("driver_features_sel", window)
            regs.write("driver_features", bits)
        regs.write("status", ACKNOWLEDGE | DRIVER | FEATURES_OK)
        assert regs.read("status") & FEATURES_OK, (
            f"{self.device.name} refuses features {self.features:#x}; it offers {self.device.offered:#x}")
        self.rings = [self._start_queue(i) for i in range(len(self.device.queue_sizes))]
        if ready:
            self.make_ready()

    def make_ready(self) -> None:
        self.registers.write("status", ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

    def _start_queue(self, index: int) -> Ring:
        base = self.RINGS + index * 0x4000
        self.memory.write(base, bytes(0x4000))
        ring = (self.PACKED if self.features & RING_PACKED else self.SPLIT)(self, index, self.size, base)
        self.place(ring)
        return ring

    def place(self, ring: Ring) -> int:
        """Write a queue's registers; returns queue_ready as the device has it."""
        regs = self.registers
        regs.write("queue_sel", ring.index)
        regs.write("queue_num", ring.size)
        for name, at in (("desc", ring.desc), ("driver", ring.avail), ("device", ring.used)):
            regs.write(f"queue_{name}_low", at & 0xffffffff)
            regs.write(f"queue_{name}_high", at >> 32)
        regs.write("queue_ready", 1)
        return regs.read("queue_ready")

    @property
    def declined(self) -> dict[str, int]:
        """Doorbells that the kernel half declined, of all queues, by the reason's name."""
        entries = [self.device.state.queue[i].entry for i in range(len(self.device.queue_sizes))]
        return {reason.name: count for reason in self.device.layout.reasons
                if (count := sum(entry.declined[reason] for entry in entries))}

    @property
    def needs_reset(self) -> bool:
        return bool(self.registers.read("status") & NEEDS_RESET)
