"""Strategies: what a guest of a device does next.  A device without one of its own has RegisterStrategy, for which
the schema is enough; virtio devices derive from VirtioStrategy and say what their requests look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from ..device.register_device import RegisterDevice
from ..devmodel.schema import Access, Takes
from ..machine.config import DeviceConfig, MachineConfig
from ..machine.machine import Machine
from ..testing.driver import ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, INDIRECT, WRITE
from ..virtio.virtio_device import EVENT_IDX, INDIRECT_DESC, NEEDS_RESET, RING_PACKED, VirtioDevice
from .guest import Guest
from .source import EDGES, Source, value
from .steps import Step, step
from .virtio_guest import FREE, VirtioGuest

MEMORY = 2 << 20        # bytes of guest memory: little, as all of it is compared after each step
SETTINGS = {"transport": ("mmio", "pci"), "rings": ("split", "packed"), "async": ("off", "on"),
            "disk": ("sound", "direct", "readonly", "faulty")}


class Strategy:
    """Makes a device, and says what its guest does."""

    guest: type[Guest] = Guest
    settings: tuple[str, ...] = ()      # of SETTINGS, those that make a difference to the device
    free: dict[str, str] = {}           # what need not be equal, and why: names of areas or values
    choices: dict[str, str] = {}        # likewise, but of devices that are not ours

    @classmethod
    def combinations(cls, of: Mapping[str, Iterable[str]] = SETTINGS) -> list[dict[str, str]]:
        """Each value of each setting with each of the others, where that makes a difference to the device."""
        found = (dict(zip(cls.settings, values)) for values in product(*(of[name] for name in cls.settings)))
        return [setting for setting in found if cls.differs(setting)]

    @staticmethod
    def differs(setting: dict[str, str]) -> bool:
        """Whether a combination of settings is not the same as one without some of them."""
        return True

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        """A machine with the device as its first; `folder` is this executor's own."""
        raise NotImplementedError

    def next(self, source: Source, guest: Guest) -> Step:
        """The next step; `guest` is that of `off`, to be looked at and nothing else."""
        raise NotImplementedError

    def open(self, machine: Machine) -> Guest:
        return self.guest(machine, machine.devices[0], *self.ends(machine.config))

    def ends(self, config: MachineConfig) -> tuple[Any, ...]:
        """The other end of the wire, if the device has one, of a machine that is there; what `guest` takes last."""
        return ()

    def _common(self) -> dict[str, Any]:
        return {"memory": MEMORY, "serial": "null", "kvm": False}


class RegisterStrategy(Strategy):
    """The schema alone: every register, legal and illegal values and widths, device memory, offload off and on."""

    def __init__(self, make: Callable[[], RegisterDevice]):
        self._make = make

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        return MachineConfig(**self._common(), devices=[DeviceConfig(self._make, offload=mode)])

    def next(self, source: Source, guest: Guest) -> Step:
        kind = source.whole(0, 99)
        if kind < 3:
            return step("switch")
        if kind < 5:
            return step("take")
        if kind < 70:
            return self.write(source, guest)
        if kind < 80:
            return step("read", register=source.one(list(guest.device.registers.registers)))
        return self.access(source, guest)

    def write(self, source: Source, guest: Guest) -> Step:
        """A whole register, as a driver writes it; doorbells and what goes with them most of all."""
        registers = guest.device.registers.registers
        bells = [name for name, register in registers.items() if register.takes is Takes.NOTIFY]
        latched = [name for bell in bells for name in registers[bell].latches]
        name = source.one([*registers, *bells * 3, *latched * 2])
        return step("write", register=name, value=self.value(source, guest, name))

    def value(self, source: Source, guest: Guest, name: str) -> int:
        """What is written to a register; half of the time one that its enum has."""
        registers = guest.device.registers.registers
        register = registers[name]
        if any(name in each.latches for each in registers.values()) and source.chance(50):
            return source.whole(0, min(64, (1 << 8 * register.type.size) - 1))      # what goes with a doorbell
        if register.type.enum and source.chance(50):
            return int(source.one(list(register.type.enum)))
        return value(source, 8 * register.type.size)

    def access(self, source: Source, guest: Guest) -> Step:
        """Any width anywhere in the device's window, near registers most of all."""
        device = guest.device
        width = source.one((1, 2, 4, 8))
        register = source.one(list(device.registers.registers.values()))
        near = register.offset + source.one((0, 0, 0, 1, 2, register.type.size, -1, -2))
        at = min(max(near if source.chance(80) else source.whole(0, device.size - width), 0), device.size - width)
        for item in device.layout.memories.values():
            if source.chance(15):
                at = item.offset + min(source.one((0, 1, item.size - 8, source.whole(0, item.size - 8))), item.size - 8)
        if source.chance(40) and not self._reads_are_free(guest):
            return step("read_at", offset=at, width=width)
        return step("write_at", offset=at, width=width, value=value(source, 8 * width))

    @staticmethod
    def _reads_are_free(guest: Guest) -> bool:
        return any(register.access is Access.WO for register in guest.device.registers.registers.values())


class VirtioStrategy(Strategy):
    """What all virtio devices have: set-up, status, chains that break rules, wishes, hand-overs.  `make` makes the
    device, unless `machine` is another one's."""

    guest: type[VirtioGuest] = VirtioGuest
    settings: tuple[str, ...] = ("transport", "rings")
    sizes: tuple[int, ...] = (16, 16, 16, 8, 4, 32)     # of the rings

    def __init__(self, make: Callable[[], RegisterDevice] | None = None):
        self._make = make

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        assert self._make
        return MachineConfig(**self._common(), devices=[DeviceConfig(self._make, **self._virtio(mode, setting))])

    @staticmethod
    def _virtio(mode: str, setting: dict[str, Any]) -> dict[str, Any]:
        """As fields of any VirtioConfig."""
        return {"offload": mode, "asynchronous": setting.get("async", "off"),
                "transport": setting.get("transport", "mmio"), "packed": setting.get("rings") == "packed"}

    def next(self, source: Source, guest: Any) -> Step:
        if not (guest.driver and guest.driver.rings) or (self.stuck(guest) and source.chance(90)):
            return self.setup(source, guest)
        kind = source.whole(0, 99)
        queue = source.whole(0, len(guest.device.queue_sizes) - 1)
        if kind < 45:
            return self.request(source, guest, queue)
        if kind < 85:
            return step("ring", queue=queue)
        return self.seldom(source, guest, queue)

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        """A request as the device's driver would make it, more or less; here two buffers, one to be read and one to be
        written, or what else there may be."""
        if source.chance(10):
            return self.wild(source, guest, queue)
        slot, length = source.whole(0, 7), source.one((1, 8, 64, 300, 1024, 4096))
        at = 0x180000 + 0x4000 * slot
        parts = [[at, length, 0], [at + 0x2000, source.one((length, 1, 4096)), WRITE]]
        return step("chain", queue=queue, head=slot * 2 % guest.driver.size, parts=parts, indirect=source.chance(25),
                    **self.table(source))

    @staticmethod
    def stuck(guest: VirtioGuest) -> bool:
        """Whether the device does nothing until it is set up again."""
        live = FEATURES_OK | DRIVER_OK
        return guest.device.page.status & (live | NEEDS_RESET) != live

    def seldom(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        kind = source.whole(0, 21)
        if kind > 19:
            return self.vector(source, queue)
        if kind < 8:
            return step("wish", queue=queue, interrupts=source.chance(60), event=self.event(source, guest, queue))
        if kind == 8:
            return step("acknowledge")
        if kind == 9:
            return self.wild(source, guest, queue)
        if kind == 10:
            return step("descriptor", queue=queue, index=source.whole(0, 31), address=self.address(source),
                        length=self.length(source), flags=source.whole(0, 7), following=source.whole(0, 33))
        if kind == 11:
            return step("offer", queue=queue, head=source.whole(0, 40))
        if kind == 12:
            return step("avail_index", queue=queue, ahead=source.one((1, 2, 16, 17, 32, 0x7fff, 0xffff)))
        if kind == 13:
            return step("switch")
        if kind == 14:
            return step("take", queue=queue)
        if kind == 15:
            return self.setup(source, guest)
        if kind == 16:
            return step("reset")
        if kind == 17:
            return step("ready")
        if kind == 18:
            return self.register(source, guest)
        return step("poke", at=source.whole(0, MEMORY - 16), data=f"{value(source, 32):08x}")

    @staticmethod
    def vector(source: Source, queue: int) -> Step:
        """Of a queue over PCI: masked, open again, or taken away."""
        return step("unset", queue=queue) if source.chance(10) else step("mask", queue=queue, masked=source.chance(40))

    def setup(self, source: Source, guest: VirtioGuest) -> Step:
        features = 0
        for bit, of_100 in ((INDIRECT_DESC, 80), (EVENT_IDX, 50), (RING_PACKED, 90)):
            features |= bit if guest.device.offered & bit and source.chance(of_100) else 0
        for bit in range(24):       # of the device itself
            if guest.device.offered >> bit & 1 and source.chance(70):
                features |= 1 << bit
        most = min(guest.device.queue_sizes)
        return step("setup", features=features, size=min(source.one(self.sizes), most), ready=source.chance(95))

    def event(self, source: Source, guest: VirtioGuest, queue: int) -> int:
        """Near where the device is."""
        return guest.device.state.queue[queue].position.next_used + source.one((0, 0, 1, 2, -1, 8, 0x7fff)) & 0xffff

    def wild(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        """Buffers of any kind, in any order."""
        parts = [[self.address(source), self.length(source), source.one((0, WRITE, WRITE, INDIRECT, 8))]
                 for _ in range(source.whole(1, 4))]
        return step("chain", queue=queue, head=source.whole(0, guest.driver.size - 1), parts=parts,
                    indirect=source.chance(25), split_at=source.whole(0, 1), **self.table(source))

    @staticmethod
    def table(source: Source) -> dict[str, Any]:
        """How an indirect table is not what it should be, now and then."""
        if source.chance(4):
            return {"odd": source.one((8, 1, 16, -16))}
        return {"beyond": source.one(("first", "last"))} if source.chance(4) else {}

    def register(self, source: Source, guest: VirtioGuest) -> Step:
        """A transport's register, at a bad time perhaps; not those that only say where rings are."""
        name = source.one(("status", "status", "queue_sel", "queue_num", "queue_ready", "queue_notify",
                           "interrupt_ack", "driver_features", "driver_features_sel", "queue_driver_low"))
        if name not in guest.device.registers.registers:        # of another transport
            name = "status"
        given = source.one((0, 1, ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, 0x80, 16)) \
            if name == "status" else value(source, 16)
        return step("write", register=name, value=given)

    def address(self, source: Source) -> int:
        """Of a buffer: where a driver has some, and at the edges of what there is.  Not in the rings: when a request
        that reads or writes those finds what of the others before it is the device's own."""
        if source.chance(60):
            return 0x180000 + 0x100 * source.whole(0, 0x1ff)
        return source.one((FREE, MEMORY - 512, MEMORY - 1, MEMORY, 0xd0000000, 1 << 32, (1 << 64) - 16,
                           source.whole(FREE, MEMORY - 1)))

    @staticmethod
    def length(source: Source) -> int:
        return source.one((*EDGES, 20, 48, 1024, 8192, 0xffffffff, source.whole(0, 8192)))


def strategy_of(kind: type[RegisterDevice]) -> Strategy:
    """Of a device of one's own: its schema is enough."""
    name = kind.schema.c_name
    return (VirtioStrategy if issubclass(kind, VirtioDevice) else RegisterStrategy)(lambda: kind(name))
