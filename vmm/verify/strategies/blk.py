"""What a driver of virtio-blk asks for (VIRTIO 1.2, 5.2.6): requests of every type, cut up anyhow, on a small image."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ...devices.blk import BlkDevice
from ...devmodel.devices.blk import SECTOR, RequestType
from ...machine.config import DiskConfig, MachineConfig
from ...machine.machine import Machine
from ...sync._shared import lib
from ...testing.driver import INDIRECT, WRITE
from ..disks.disk import Disk
from ..disks.faulty import OPERATIONS, RESULTS, FaultyDisk, FaultyDisks
from ..guest import Area, Guest
from ..in_flight import InFlightStrategy
from ..in_flight_guest import PARTS, InFlightGuest
from ..source import Source
from ..steps import Step, step
from ..strategy import VirtioStrategy
from ..virtio_guest import VirtioGuest

SECTORS = 640       # more than is copied at once
OWN = SECTORS // 16     # of a request that is in flight beside others; its data are among the first 15
SERIAL = "all of twenty bytes."
HEADERS, DATA = 0x180000, 0x190000      # guest-physical: 32 headers and states, and buffers
TYPES = {"IN": RequestType.IN, "OUT": RequestType.OUT, "FLUSH": RequestType.FLUSH, "GET_ID": RequestType.GET_ID,
         "DISCARD": RequestType.DISCARD, "WRITE_ZEROES": RequestType.WRITE_ZEROES, "unknown": 99}
RANGE = struct.Struct("<QII")
HEADERS_END = HEADERS + 32 * 0x100
CUT = 0x60000       # from other requests' buffers to those that may hold the rest of a header
RANGES = 48         # slots from there on are of ranges alone, where requests are in flight


class BlkGuest(VirtioGuest):
    disk: Disk              # below the device

    def __init__(self, *given: Any):
        self._mixed: set[int] = set()   # slots whose status may belong to another's header, by cuts and shared tables
        super().__init__(*given)

    def setup(self, features: int, size: int, ready: bool = True) -> None:
        self._mixed.clear()
        super().setup(features, size, ready)

    def request(self, queue: int, slot: int, type: str, sector: int, data: list, indirect: bool = False,
                header: int = 16, status: int = 1, nested: bool = False, head: int | None = None, **table: Any) -> None:
        """A request whose header, of `header` bytes, and status lie in `slot`; `data` are buffers as of `chain`.  With
        `nested` they, and the status, are in an indirect table of their own."""
        at = HEADERS + 0x100 * slot
        if header != 16 or indirect or nested:
            self._mixed.add(slot)
        self.machine.memory.write(at, struct.pack("<IIQ", int(TYPES[type]), 0, sector) + b"\xff" * 16)
        rest = [*data, [at + 16, status, WRITE]]
        if nested:
            inner = self.TABLES + 0x1000 * queue + 0x800
            self._table(self.driver.rings[queue], [tuple(part) for part in rest], inner)
            rest = [[inner, 16 * len(rest), INDIRECT]]
        head = slot * PARTS % self.driver.size if head is None else head
        self.chain(queue, head, [[at, header, 0], *rest], indirect, **table)

    def ranges(self, slot: int, sector: int, count: int, flags: int) -> None:
        """What a DISCARD or WRITE_ZEROES of this slot is about, in its data."""
        self.machine.memory.write(DATA + 0x1000 * slot, RANGE.pack(sector, count, flags))

    def read_all(self, queue: int, times: int) -> None:
        """Reads of the whole disk, as many at once: more than one visit copies."""
        for slot in range(times):
            self.request(queue, slot, "IN", 0, [[DATA, SECTORS * SECTOR, WRITE]], head=slot * PARTS % self.driver.size)

    def evict(self) -> None:
        """The host takes the page cache back: what is written first, if the disk lets it."""
        image = self.device.image
        with suppress(OSError):
            os.fdatasync(image.fd)
        if image.address:
            lib.evict(image.address, image.size)
        os.posix_fadvise(image.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def fail(self, operation: str, sector: int, count: int, result: str) -> None:
        """From now on the disk fails requests there."""
        self.disk.fail(operation, sector * SECTOR, count * SECTOR, result)

    def mend(self) -> None:
        """The disk is sound again."""
        self.disk.mend()

    def _areas(self) -> Iterator[Area]:
        yield from super()._areas()
        yield Area("image", self.disk.address, self.disk.size, lambda at: f"sector {at // SECTOR}, byte {at % SECTOR}")

    def tell_memory(self, at: int) -> str:
        """A status is the last of up to 513 bytes, and then where that of the slot after the next one is."""
        slot, inside = divmod(at - HEADERS, 0x100)
        if not (0 <= slot < 32 and inside < 0x20):
            return super().tell_memory(at)
        if inside < 16:
            return f"header of slot {slot}"
        return " or ".join(f"status of slot {each} ({self._type(each)})" for each in (slot, slot - 2) if each >= 0)

    def _type(self, slot: int) -> str:
        if slot in self._mixed:
            return "mixed"
        found = int.from_bytes(self.machine.memory.read(HEADERS + 0x100 * slot, 4), "little")
        return next((name for name, value in TYPES.items() if value == found), "unknown")


class BlkInFlightGuest(InFlightGuest, BlkGuest):
    """Requests go through the ring."""


class BlkStrategy(InFlightStrategy):
    """With async=on each request of a doorbell has sectors of its own, beside its buffers; with disk=faulty some
    sectors cannot be read or written for a while, and flushes fail; disk=direct goes past the page cache."""

    guest = BlkGuest
    settings = (*InFlightStrategy.settings, "async", "disk")

    def __init__(self) -> None:
        super().__init__()
        self._opening: dict[Path, Disk] = {}

    @staticmethod
    def differs(setting: dict[str, str]) -> bool:
        """On disks without a page cache the kernel half does nothing but through its ring; one that cannot be written
        has little to do with that."""
        return setting.get("async") in {"sound": ("off", "on"), "readonly": ("off",)}.get(setting["disk"], ("on",))

    @cached_property
    def _faulty(self) -> FaultyDisks:
        return FaultyDisks()

    def open(self, machine: Machine) -> Guest:
        disk = machine.config.disks[0]
        kind = BlkInFlightGuest if disk.asynchronous == "on" else BlkGuest
        guest: BlkGuest = kind(machine, cast(BlkDevice, machine.devices[0]))
        guest.disk = self._opening.pop(disk.path)
        return guest

    def next(self, source: Source, guest: Any) -> Step:
        if isinstance(guest.disk, FaultyDisk) and source.chance(8):
            return self.trouble(source)
        if isinstance(guest, InFlightGuest):
            return super().next(source, guest)
        return VirtioStrategy.next(self, source, guest)

    def seldom(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        if source.chance(6):
            return step("evict")
        if isinstance(guest, InFlightGuest):
            return super().seldom(source, guest, queue)
        return VirtioStrategy.seldom(self, source, guest, queue)

    def machine(self, mode: str, setting: dict[str, Any], folder: Path) -> MachineConfig:
        image = folder / "image"
        image.write_bytes(b"".join(i.to_bytes(8, "little") * (SECTOR // 8) for i in range(SECTORS)))
        kind = setting.get("disk")
        disk = self._faulty.add(image) if kind == "faulty" else Disk(image)
        self._opening[disk.path] = disk
        return MachineConfig(**self._common(), disks=[DiskConfig(
            disk.path, queues=2, serial=SERIAL, queue_size=32, read_only=kind == "readonly",
            cache="none" if kind == "direct" else "writeback", **self._virtio(mode, setting))])

    def request(self, source: Source, guest: VirtioGuest, queue: int) -> Step:
        if isinstance(guest, InFlightGuest):
            return self.apart(source, guest, queue)
        if source.chance(2):
            return step("read_all", queue=queue, times=3)
        slot = source.whole(0, 7)
        type_ = source.one(("IN",) * 20 + ("OUT",) * 10 + tuple(TYPES))
        if type_ in ("DISCARD", "WRITE_ZEROES") and source.chance(50):
            return step("ranges", slot=slot, sector=source.one((0, 8, 100, SECTORS - 1, SECTORS, 1 << 40)),
                        count=source.one((0, 1, 8, SECTORS - 100, SECTORS + 1, 0xffffffff)),
                        flags=source.one((0, 0, 0, 1, 2)))
        sector = source.one((SECTORS - 1, SECTORS, 1 << 55, (1 << 64) - 1)) if source.chance(8) else \
            source.whole(0, SECTORS - 26)
        asked = step("request", queue=queue, slot=slot, type=type_, sector=sector, data=self.data(source, type_, slot),
                     indirect=source.chance(30), nested=source.chance(3), **self.table(source),
                     header=source.one((8, 15, 17, 0)) if source.chance(4) else 16,
                     status=source.one((0, 2, 513)) if source.chance(4) else 1)
        asked.given["data"] = [self._apart_from_headers(asked.given["header"], *part) for part in asked.given["data"]]
        return asked

    @staticmethod
    def _apart_from_headers(header: int, at: int, size: int, flags: int) -> list[int]:
        """What a device writes is no other request's header: which of a doorbell's it reads first is its own to choose,
        and those beside each other on the disk are read before any is done."""
        holds_header = header != 16 and at >> 16 == DATA >> 16
        if holds_header or (flags & WRITE and at < HEADERS_END and at + size > HEADERS):
            at = at & 0xffff | DATA + CUT
        return [at, size, flags]

    @staticmethod
    def trouble(source: Source) -> Step:
        """With the disk, where requests in flight are; or an end of it."""
        if source.chance(30):
            return step("mend")
        operation = source.one(OPERATIONS)
        return step("fail", operation=operation, sector=OWN * source.whole(0, 15) + source.whole(0, 12),
                    count=source.one((1, 2, 8, SECTORS)), result=source.one(RESULTS[operation]))

    def apart(self, source: Source, guest: InFlightGuest, queue: int) -> Step:
        """One that has nothing to do with any other of this doorbell."""
        slot = self.slot(source, guest, queue)
        if slot < 0:
            return step("ring", queue=queue)
        place, first = slot + 8 * queue, OWN * (slot + 8 * queue)
        type_ = source.one(("IN",) * 5 + ("OUT",) * 5 + tuple(TYPES))
        if type_ in ("DISCARD", "WRITE_ZEROES"):
            if source.chance(50):
                return step("ranges", slot=RANGES + place, sector=first + source.whole(0, 7),
                            count=source.one((0, 1, 8)), flags=source.one((0, 0, 1, 2)))
            data = [[DATA + 0x1000 * (RANGES + place), source.one((16, 16, 15)), 0]]     # nothing else is put there
        else:
            data = self.data(source, type_, 3 * place, source.one(([512], [1024, 512], [4096], [512, 512, 1024])))
        return step("request", queue=queue, slot=place, head=PARTS * slot, type=type_,
                    sector=first + source.whole(0, 7), data=data, indirect=source.chance(30))

    def data(self, source: Source, type_: str, slot: int, sizes: list[int] | None = None) -> list[list[int]]:
        writable = WRITE if type_ in ("IN", "GET_ID") else 0
        if type_ in ("DISCARD", "WRITE_ZEROES"):
            return [[DATA + 0x1000 * slot, source.one((16, 16, 16, 32, 15)), 0]]
        if type_ == "FLUSH" and source.chance(80):
            return []
        if sizes:
            at = DATA + 0x1000 * slot + source.one((0, 0, 0, 0, 8))
            return [[at + 0x1000 * i, 20 if type_ == "GET_ID" else size, writable] for i, size in enumerate(sizes)]
        sizes = [20] if type_ == "GET_ID" and source.chance(70) else \
            [source.one((512, 512, 1024, 4096, 1536)) for _ in range(source.whole(1, 3))]
        if source.chance(4):
            sizes[source.whole(0, len(sizes) - 1)] = self.length(source)
        at, found = DATA + 0x1000 * slot + source.one((0, 0, 0, 8, 512)), []
        for size in sizes:
            found.append([self.address(source) if source.chance(2) else at, size,
                          writable ^ (WRITE if source.chance(1) else 0)])
            at += size + source.one((0, 0, 700))
        return found
