"""virtio-blk, user half: every request there is (VIRTIO 1.2, section 5.2)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ..device.place import Place
from ..devmodel.devices.blk import (
    ID_BYTES,
    PUNCH_HOLE,
    RANGE_SECTORS,
    SECTOR,
    SEGMENTS,
    Blk,
    BlkConfig,
    RequestType,
    Status,
    Writes,
)
from ..devmodel.uring import Raises
from ..virtio.virtio_device import VirtioDevice
from ..virtqueue.ring import BrokenQueue, Chain
from ..virtqueue.virtqueue import UserQueue
from .disk_image import DiskImage

# feature bits, 5.2.3
SEG_MAX, RO, BLK_SIZE, FLUSH, MQ, DISCARD, WRITE_ZEROES = \
    1 << 2, 1 << 5, 1 << 6, 1 << 9, 1 << 12, 1 << 13, 1 << 14
HEADER = struct.Struct("<IIQ")
RANGE = struct.Struct("<QII")
UNMAP = 1
RANGE_SEGMENTS = 16                 # of one discard or write-zeroes
IN, OUT = int(RequestType.IN), int(RequestType.OUT)
MOST_IN_RUN, MOST_PARTS = 64, 1024      # requests of a run; its buffers, as preadv(2) takes them (IOV_MAX)


Outcome = tuple[int, int, int]      # status, bytes written to the guest, bytes of data moved


class Request(NamedTuple):
    """One request: buffers are (offset into RAM, length)."""

    chain: Chain
    kind: int
    sector: int
    readable: list[tuple[int, int]]     # behind the header
    writable: list[tuple[int, int]]     # before the status
    room: int                           # bytes of them
    status: int                         # offset into RAM
    bytes: int                          # of data, if it is a read or a write


def _used_length(written: int, room: int) -> int:
    """What was written from the first writable byte on, without a gap (2.7.8.2, 2.8.4): the status lies behind all the
    `room` that there is for data, and counts if that is full."""
    return written + 1 if written == room else written


class BlkDevice(VirtioDevice):
    """A disk: `image` through `queues` request queues."""

    schema = Blk
    handler = "blk"
    config_type = BlkConfig

    def __init__(self, name: str, image: DiskImage, queues: int = 1, serial: str = "",
                 queue_size: int = 256):
        features = SEG_MAX | BLK_SIZE | (MQ if queues > 1 else 0)
        features |= 0 if image.cache == "writethrough" else FLUSH
        features |= RO if image.read_only else WRITE_ZEROES
        features |= DISCARD if image.discards else 0
        super().__init__(name, features, [queue_size] * queues)
        self.image = image
        self.uring_queues = queues
        self.serial = os.fsencode(serial or name)[:ID_BYTES]

    def attach(self, place: Place) -> None:
        super().attach(place)
        config, disk = self.config, self.state.disk
        config.capacity = disk.capacity = self.image.size // SECTOR
        config.seg_max, config.blk_size = SEGMENTS, self.image.block
        config.num_queues = len(self.queue_sizes)
        config.max_write_zeroes_sectors, config.max_write_zeroes_seg = RANGE_SECTORS, RANGE_SEGMENTS
        config.write_zeroes_may_unmap = int(self.image.discards)
        if self.image.discards:
            config.max_discard_sectors, config.max_discard_seg = RANGE_SECTORS, RANGE_SEGMENTS
            config.discard_sector_alignment = self.image.block // SECTOR
        disk.image, disk.image_fd = self.image.address, self.image.fd
        disk.align, disk.read_only = self.image.align, int(self.image.read_only)
        for i, byte in enumerate(self.serial):
            disk.serial[i] = byte
        self._view = place.memory.view
        self._capacity = self.image.size // SECTOR

    def uring_files(self) -> list[int]:
        return [self.image.fd] * self.uring_queues

    def start_urings(self, eventfds, polled: bool, raises: Raises, attach: int = -1) -> None:
        self.state.disk.writes = self._writes(polled)
        super().start_urings(eventfds, polled, raises, attach)

    def _writes(self, polled: bool) -> Writes:
        """Where io_uring would leave writes to a worker thread, that thread needs a CPU beside the
        vCPU's and the polling thread's; without one, waiting for them is cheaper, which the native build does."""
        if self.insists or self.image.writes_inline or (polled and len(os.sched_getaffinity(0)) > 2):
            return Writes.RING
        return Writes.AT_ONCE

    @property
    def durable(self) -> bool:
        """Whether a write must be on the disk before it is completed: a driver without FLUSH takes a
        completed one for that (5.2.5, 5.2.6.2)."""
        return not self.accepted & FLUSH

    def driver_ready(self) -> None:
        self.state.disk.durable = int(self.durable)

    def came_back(self, queue: UserQueue, tag, result: int) -> tuple[int, int] | None:
        if result != tag.wanted:
            return None
        self._finish(queue, tag, Status.OK, (tag.written if tag.buffers else 0) + 1)
        return 1, tag.wanted

    def _finish(self, queue: UserQueue, tag, status: Status, used: int) -> None:
        self._view[queue.memory.offset(tag.status, 1)] = status
        queue.push(tag, used, touched=True)

    def redo(self, queue: UserQueue, tag, parts: list[tuple[int, int]]) -> int:
        kind, length = RequestType(tag.kind - 1), sum(size for _, size in parts)
        if kind in (RequestType.DISCARD, RequestType.WRITE_ZEROES):
            status, written, moved = self._tried(self._redo_range, kind, tag)
        else:
            status, written, moved = self._tried(self._do, queue, kind, tag.place // SECTOR, parts, parts, length)
        self._finish(queue, tag, status, _used_length(written, length if kind == IN else 0))
        return moved

    def _redo_range(self, kind: int, tag) -> Outcome:
        self._range(kind, tag.place, tag.range, tag.written == PUNCH_HOLE)
        return Status.OK, 0, 0

    def _tried(self, do: Callable[..., Outcome], *given: Any) -> Outcome:
        """What comes of it; an error is told, and the driver's to hear."""
        try:
            return do(*given)
        except OSError as error:
            self.log.warning("%s: %s", self.name, error)
            return Status.IOERR, 0, 0

    def serve(self, queue: UserQueue) -> tuple[int, int]:
        """Requests that go on from each other are one transfer (vmm/sync/PROTOCOL.md, "Runs")."""
        requests = moved = 0
        run: list[Request] = []
        try:
            for chain in queue.chains():
                request = self._request(chain)
                if run and not self._goes_on(run, request):
                    moved += self._finish_run(queue, run)
                    run = []
                run.append(request)
                requests += 1
        finally:        # also what the driver asked for before it broke a rule
            moved += self._finish_run(queue, run)
        return requests, moved

    def _request(self, chain: Chain) -> Request:
        """Take a request apart.  Raises BrokenQueue.

        The driver may cut a request anywhere (5.2.6.4): the header is the first 16 readable
        bytes, the status the last writable one.
        """
        head, readable = self._split(chain.readable)
        if not chain.writable:
            raise BrokenQueue(f"{self.name}: a request with no room for its status")
        at, length = chain.writable[-1]
        writable = chain.writable[:-1]
        if length > 1:
            writable.append((at, length - 1))
        kind, _, sector = HEADER.unpack(head)
        room = sum(length for _, length in writable)
        data = room if kind == IN else sum(length for _, length in readable) if kind == OUT else 0
        return Request(chain, kind, sector, readable, writable, room, at + length - 1, data)

    @staticmethod
    def _goes_on(run: list[Request], request: Request) -> bool:
        last = run[-1]
        return request.kind == last.kind and request.kind in (IN, OUT) and bool(last.bytes and request.bytes) and \
            (last.bytes | request.bytes) % SECTOR == 0 and last.sector + last.bytes // SECTOR == request.sector and \
            len(run) < MOST_IN_RUN

    def _finish_run(self, queue: UserQueue, run: list[Request]) -> int:
        """Do and complete requests: bytes of data moved."""
        if len(run) > 1 and (done := self._whole(queue, run)):
            for request in run:
                self._complete(queue, request, Status.OK, request.room)
            return done
        return sum(self._finish_one(queue, request) for request in run)

    def _whole(self, queue: UserQueue, run: list[Request]) -> int:
        """A run as one transfer: its bytes, or 0 where each request is to be done by itself."""
        kind, length = run[0].kind, sum(request.bytes for request in run)
        parts = [part for request in run for part in (request.writable if kind == IN else request.readable)]
        if len(parts) > MOST_PARTS:
            return 0
        try:
            status, _, moved = self._do(queue, kind, run[0].sector, parts, parts, length)
        except OSError:         # whose it is, each by itself tells
            return 0
        return moved if status == Status.OK else 0

    def _finish_one(self, queue: UserQueue, request: Request) -> int:
        status, written, moved = self._tried(self._do, queue, request.kind, request.sector, request.readable,
                                             request.writable, request.room)
        self._complete(queue, request, status, written)
        return moved

    def _complete(self, queue: UserQueue, request: Request, status: int, written: int) -> None:
        self._view[request.status] = status
        queue.push(request.chain, _used_length(written, request.room), touched=True)    # its status at least

    def _split(self, readable: list[tuple[int, int]]) -> tuple[bytes, list[tuple[int, int]]]:
        """The 16 bytes of header, and the readable buffers behind them."""
        view = self._view
        if readable and readable[0][1] == HEADER.size:
            at = readable[0][0]
            return bytes(view[at:at + HEADER.size]), readable[1:]
        head, rest = b"", []
        for at, length in readable:
            take = min(length, HEADER.size - len(head))
            head += bytes(view[at:at + take])
            if take < length:
                rest.append((at + take, length - take))
        if len(head) < HEADER.size:
            raise BrokenQueue(f"{self.name}: a request of {len(head)} readable bytes; wanted "
                              f"{HEADER.size} or more")
        return head, rest

    def _do(self, queue: UserQueue, kind: int, sector: int, readable, writable, room: int) -> Outcome:
        """May raise OSError."""
        if kind == IN:
            return self._transfer(self.image.read, sector, writable, room, room)
        if kind == OUT:
            length = sum(length for _, length in readable)
            if self.image.read_only:
                return Status.IOERR, 0, 0       # 5.2.6.2: a read-only device fails writes
            write = self.image.write_through if self.durable else self.image.write
            return self._transfer(write, sector, readable, length, 0)
        if kind == RequestType.FLUSH:
            self.image.flush()
            return Status.OK, 0, 0
        if kind == RequestType.GET_ID:
            return self._get_id(writable, room)
        if kind in (RequestType.DISCARD, RequestType.WRITE_ZEROES) and not self.image.read_only:
            return self._ranges(queue, kind, readable), 0, 0
        return Status.UNSUPP, 0, 0

    def _transfer(self, call, sector: int, parts, length: int, written: int) -> Outcome:
        sectors = length // SECTOR
        if length % SECTOR or sector > self._capacity or sectors > self._capacity - sector:
            return Status.IOERR, 0, 0
        if length:
            view = self._view
            call([view[at:at + size] for at, size in parts], sector * SECTOR)
            if written and self.mode == "on":
                self.image.populate(sector * SECTOR, length)
        return Status.OK, written, length

    def _get_id(self, writable, room: int) -> Outcome:
        serial = self.serial.ljust(ID_BYTES, b"\0")[:room]
        done = 0
        for at, length in writable:
            part = serial[done:done + length]
            self._view[at:at + len(part)] = part
            done += len(part)
        return Status.OK, done, done

    def _ranges(self, queue: UserQueue, kind: int, readable) -> int:
        """Discard or write zeroes (5.2.6.2): all ranges are checked before any is touched."""
        data = queue.gather(readable, RANGE.size * RANGE_SEGMENTS)
        if not data or len(data) % RANGE.size:
            return Status.IOERR
        ranges = list(RANGE.iter_unpack(data))
        for sector, count, flags in ranges:
            if flags & ~UNMAP or (kind == RequestType.DISCARD and flags & UNMAP):
                return Status.UNSUPP
            if count > RANGE_SECTORS or sector > self._capacity or count > self._capacity - sector:
                return Status.IOERR
        for sector, count, flags in ranges:
            if count:
                self._range(kind, sector * SECTOR, count * SECTOR, bool(flags & UNMAP))
        if self.durable:
            self.image.flush()
        return Status.OK

    def _range(self, kind: int, offset: int, length: int, unmap: bool) -> None:
        if kind == RequestType.DISCARD:
            self.image.discard(offset, length)
        else:
            self.image.write_zeroes(offset, length, unmap)

    def close(self) -> None:
        super().close()
        self.image.close()
