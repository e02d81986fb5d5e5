"""Requests of a disk (VIRTIO 1.2, 5.2.5, 5.2.6)."""

from __future__ import annotations

import struct

from tools.driver import WRITE
from vmm.devices.blk import RANGE_SEGMENTS
from vmm.devmodel.devices.blk import ID_BYTES, SECTOR, BlkConfig, RequestType
from vmm.devmodel.layout import layout_block

from ..scene import Scene
from ..table import ERROR, SERVED, breaks
from ..victims import Disk

CAPACITY = Disk.SECTORS
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = RequestType
SECURE_ERASE, ZONE_APPEND, ZONE_REPORT, ZONE_OPEN, ZONE_RESET_ALL = 14, 15, 16, 18, 26      # 5.2.6
ALL_ONES = (1 << 64) - 1


def _request(scene: Scene, kind: int, sector: int, *data: tuple[int, int, int]) -> None:
    driver = scene.victim
    driver.header(kind, sector)
    scene.send([(driver.HEADER, 16, 0), *data, (driver.STATUS, 1, WRITE)])


def _data(scene: Scene, kind: int, length: int) -> tuple[int, int, int]:
    return scene.victim.DATA, length, WRITE if kind == IN else 0


BEYOND = "no request is beyond the capacity"


def _transfers(name: str, section: str, must: str, sector: int, length: int, how: str, *allowed) -> None:
    """An entry for a read, and one for a write."""
    for kind in (IN, OUT):
        def do(scene: Scene, kind: int = kind) -> None:
            _request(scene, kind, sector, _data(scene, kind, length))
        what = "read" if kind == IN else "write"
        do.__name__, do.__doc__ = f"{what}_{name}", f"A {what} {how}."
        breaks(section, must, *allowed)(do)


_transfers("behind_the_end", "5.2.6.1", BEYOND, CAPACITY, SECTOR, "of the sector behind the last", ERROR)
_transfers("across_the_end", "5.2.6.1", BEYOND, CAPACITY - 1, 2 * SECTOR, "of the last sector and the next", ERROR)
_transfers("of_the_last_number", "5.2.6.1", BEYOND, ALL_ONES, SECTOR, "of sector 2^64 - 1", ERROR)
_transfers("that_wraps", "5.2.6.1", BEYOND, 1 << 55, SECTOR, "whose offset in bytes is 2^64", ERROR)
_transfers("that_wraps_to_the_end", "5.2.6.1", BEYOND, ALL_ONES, 2 * SECTOR, "that would end at sector 1", ERROR)
WHOLE = "data is of whole sectors"
_transfers("of_half_a_sector", "5.2.6.1", WHOLE, 1, 256, "of 256 bytes", ERROR)
_transfers("of_a_byte_more", "5.2.6.1", WHOLE, 1, SECTOR + 1, "of 513 bytes", ERROR)
_transfers("of_a_byte_less", "5.2.6.1", WHOLE, 1, SECTOR - 1, "of 511 bytes", ERROR)


@breaks("5.2.6.1", "data goes the way that the request says", SERVED)
def read_into_what_is_readable(scene: Scene) -> None:
    """A read whose data buffer the device may not write."""
    _request(scene, IN, 1, (scene.victim.DATA, SECTOR, 0))


@breaks("5.2.6.1", "data goes the way that the request says", SERVED)
def write_from_what_is_writable(scene: Scene) -> None:
    """A write whose data buffer the device may not read."""
    _request(scene, OUT, 1, (scene.victim.DATA, SECTOR, WRITE))


@breaks("5.2.6.1", "a FLUSH has sector 0", SERVED)
def flush_of_a_sector(scene: Scene) -> None:
    """A FLUSH of sector 2^64 - 1."""
    _request(scene, FLUSH, ALL_ONES)


@breaks("5.2.6.1", "a FLUSH has no data", SERVED)
def flush_with_data(scene: Scene) -> None:
    """A FLUSH with buffers that the device may read and write."""
    _request(scene, FLUSH, 0, (scene.victim.DATA, SECTOR, 0), (scene.victim.DATA + SECTOR, SECTOR, WRITE))


@breaks("5.2.6.1", "a FLUSH is sent where that was negotiated", SERVED, without=1 << 9)
def flush_not_negotiated(scene: Scene) -> None:
    """A FLUSH without VIRTIO_BLK_F_FLUSH."""
    _request(scene, FLUSH, 0)


def _identity(name: str, length: int) -> None:
    def do(scene: Scene) -> None:
        _request(scene, GET_ID, 0, *([(scene.victim.DATA, length, WRITE)] if length else []))
    do.__name__, do.__doc__ = f"identity_{name}", f"A GET_ID with room for {length} bytes."
    breaks("5.2.6.1", f"GET_ID has {ID_BYTES} bytes of data", SERVED)(do)


_identity("of_a_byte", 1)
_identity("of_nothing", 0)
_identity("of_a_page", 4096)


def _ranges(scene: Scene, kind: int, *ranges: tuple[int, int, int], cut: int = 0) -> None:
    """A request about ranges (sector, sectors, flags); `cut` leaves the last bytes out."""
    data = b"".join(struct.pack("<QII", *each) for each in ranges)
    scene.memory.write(scene.victim.DATA, data)
    _request(scene, kind, 0, (scene.victim.DATA, len(data) - cut, 0))


def _of_ranges(kind: RequestType) -> None:
    """What a driver must not do with either request."""
    name = kind.name.lower()

    def enter(what: str, must: str, how: str, *ranges: tuple[int, int, int], cut: int = 0) -> None:
        def do(scene: Scene) -> None:
            _ranges(scene, kind, *ranges, cut=cut)
        do.__name__, do.__doc__ = f"{name}_{what}", f"{kind.name} {how}."
        breaks("5.2.6.1", must, ERROR)(do)

    enter("of_a_range_and_a_half", "data is of whole ranges", "with 24 bytes of data", (1, 1, 0), (2, 1, 0), cut=8)
    enter("of_too_many", "no more ranges than the device says", "of one range more than it takes",
          *[(1, 1, 0)] * (RANGE_SEGMENTS + 1))
    enter("behind_the_end", BEYOND, "of the sector behind the last", (CAPACITY, 1, 0))
    enter("that_wraps", BEYOND, "of 2^32 - 1 sectors from 2^64 - 1 on", (ALL_ONES, 0xffffffff, 0))
    enter("of_a_good_and_a_bad_range", BEYOND, "of a sound range and one behind the end", (1, 1, 0), (CAPACITY, 1, 0))
    enter("with_reserved_flags", "reserved flags are 0", "with all flags", (1, 1, 0xfffffffe))


_of_ranges(DISCARD)
_of_ranges(WRITE_ZEROES)


@breaks("5.2.6.1", "`unmap` is 0 in a DISCARD", ERROR)
def discard_with_unmap(scene: Scene) -> None:
    """A DISCARD with the flag."""
    _ranges(scene, DISCARD, (1, 1, 1))


def _unknown(name: str, number: int) -> None:
    def do(scene: Scene) -> None:
        _request(scene, number, 0, (scene.victim.DATA, SECTOR, WRITE))
    do.__name__, do.__doc__ = name, f"Type {number}."
    breaks("5.2.6.1", "requests are of types that were negotiated", ERROR)(do)


for _name, _number in (("secure_erase", SECURE_ERASE), ("zone_append", ZONE_APPEND), ("zone_report", ZONE_REPORT),
                       ("zone_open", ZONE_OPEN), ("zone_reset_all", ZONE_RESET_ALL), ("unknown_type", 0xffffffff)):
    _unknown(_name, _number)


WRITEBACK = layout_block(BlkConfig).field("writeback").offset


@breaks("5.2.5.1", "`writeback` is read after FEATURES_OK, and where it was negotiated", SERVED)
def writeback_too_early(scene: Scene) -> None:
    """`writeback` is read right after a reset."""
    scene.write("status", 0)
    scene.registers.read_at(scene.victim.device.transport.config + WRITEBACK, 1)
    scene.victim.start()
    scene.send()


@breaks("5.2.5.1", "`writeback` is written where that was negotiated", SERVED)
def writeback_not_negotiated(scene: Scene) -> None:
    """Either value is written to `writeback`."""
    for value in (1, 0, 0xff):
        scene.registers.write_at(scene.victim.device.transport.config + WRITEBACK, 1, value)
    scene.send()


@breaks("2.7.4.2", "few descriptors make a buffer", SERVED, rings=("split",))
@breaks("2.8.17", "few descriptors make a buffer", SERVED, rings=("packed",))
def header_by_single_bytes(scene: Scene) -> None:
    """Header, data and status in descriptors of a byte each, in a table: 529 of them."""
    driver = scene.victim
    driver.header(IN, 1)
    parts = [(driver.HEADER + i, 1, 0) for i in range(16)] + [(driver.DATA + i, 1, WRITE) for i in range(SECTOR)]
    scene.send([scene.table([*parts, (driver.STATUS, 1, WRITE)])])


@breaks("3.3.1", "a buffer is not exposed twice at once", SERVED)
def one_buffer_of_many_requests(scene: Scene) -> None:
    """Four reads into the same buffer, with one status, at once."""
    for i in range(4):
        scene.ring.request(scene.victim.parts(), 4 * i % scene.size)
    scene.ring.ring()
