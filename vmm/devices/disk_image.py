"""A raw disk image, or a block device, as sectors: buffered or past the page cache."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ..devmodel.devices.blk import PUNCH_HOLE, SECTOR, ZERO_RANGE
from ..errors import UserError
from ..files import open_at_once
from ..sync._shared import ffi, lib
from .disk_use import format_of, use_of, zeroes_by_itself

BLKSSZGET = 0x1268          # linux/fs.h
PAGE = mmap.PAGESIZE
WINDOW = 512 << 10          # bytes mapped around a page that the exit path missed
BOUNCE = 1 << 20           # bytes copied at a time for O_DIRECT
WARM_LIMIT = 1 << 30        # bytes of cached pages mapped at the start
_RESIDENT = bytes(flags & 1 for flags in range(256))    # mincore(2): the other bits mean nothing


def _windows(buffers: list[memoryview], most: int) -> Iterator[list[memoryview]]:
    """The same bytes in the same order, as lists of at most `most` bytes each."""
    window, room = [], most
    for buffer in buffers:
        while buffer:
            window.append(buffer[:room])
            buffer, room = buffer[room:], room - len(window[-1])
            if not room:
                yield window
                window, room = [], most
    if window:
        yield window


class DiskError(UserError):
    """The image cannot be used as a disk."""


class DiskImage:
    """`size` bytes.  Offsets and lengths are in bytes; reads past what is there are errors.

    `cache`: `writeback` (a write is in the host's page cache when it is completed), `writethrough`
    (on the disk) or `none` (past the page cache: O_DIRECT).  `raw` takes what looks like another format.
    """

    def __init__(self, path: Path, read_only: bool = False, cache: str = "writeback", raw: bool = False):
        self.path, self.read_only, self.cache = path, read_only, cache
        self.direct = cache == "none"
        self.fd = self._open()
        try:
            self._check(raw)
        except BaseException:
            os.close(self.fd)
            raise
        self.address = self._map()

    def _open(self) -> int:
        """O_EXCL is for block devices: nothing in the kernel may have one that the guest writes to."""
        flags = (os.O_RDONLY if self.read_only else os.O_RDWR | os.O_EXCL) | (os.O_DIRECT if self.direct else 0)
        try:
            return open_at_once(self.path, flags)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise self._in_use(self._seen_use() or "a file system, a RAID or a mapping") from None
            hint = "readonly=on" if error.errno in (errno.EACCES, errno.EROFS) else "an image or block device"
            raise DiskError(f"{self.path}: {error.strerror}; wanted {hint}") from None

    def _seen_use(self) -> str:
        """Of a device that is not open for writing."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return use_of(fd)
        finally:
            os.close(fd)

    def _in_use(self, use: str) -> DiskError:
        return DiskError(f"{self.path}: in use by this host ({use}); wanted it out of use, or readonly=on")

    def _check(self, raw: bool) -> None:
        mode = os.fstat(self.fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise DiskError(f"{self.path}: neither a file nor a block device")
        if not self.read_only and (use := use_of(self.fd)):
            raise self._in_use(use)
        try:
            name = "" if raw else format_of(self.fd)
        except OSError as error:
            raise DiskError(f"{self.path}: {error.strerror}, of its first bytes; wanted an image or block "
                            "device") from None
        if name:
            raise DiskError(f"{self.path}: a {name} image; wanted a raw one (qemu-img convert -f {name} -O raw), or "
                            "format=raw if it is one and only looks like that")
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        if self.size == 0 or self.size % SECTOR:
            raise DiskError(f"{self.path}: {self.size} bytes; wanted a multiple of {SECTOR}, and some")
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if self.read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DiskError(f"{self.path}: in use by another process; wanted it alone, or "
                            "readonly=on for every user of it") from None
        self.block = 512
        if stat.S_ISBLK(mode):
            self.block = int.from_bytes(fcntl.ioctl(self.fd, BLKSSZGET, bytes(4)), "little")
        self.align = max(self.block, 512) if self.direct else 1

    @cached_property
    def discards(self) -> bool:
        """Whether holes can be punched into it.  Tried behind the end of a file, where there is nothing to lose."""
        if self.read_only:
            return False
        if stat.S_ISBLK(os.fstat(self.fd).st_mode):
            return zeroes_by_itself(self.fd)
        try:
            self._allocate(PUNCH_HOLE, self.size, PAGE)
        except OSError:
            return False
        return True

    @cached_property
    def writes_inline(self) -> bool:
        """Whether io_uring writes without a worker thread: past the page cache, to a block device,
        or where the file system takes buffered writes with RWF_NOWAIT (XFS and btrfs do; ext4 and
        tmpfs, in Linux 6.18, do not).  Tried on a nameless file beside the image."""
        if self.direct or stat.S_ISBLK(os.fstat(self.fd).st_mode):
            return True
        try:
            fd = os.open(self.path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.pwrite(fd, bytes(PAGE), 0)
            return os.pwritev(fd, [bytes(PAGE)], 0, os.RWF_NOWAIT) == PAGE
        except OSError:
            return False
        finally:
            os.close(fd)

    def _map(self) -> int:
        """The image's page cache in this process, for the exit path; 0 past the page cache."""
        if self.direct:
            return 0
        address = lib.map_file(self.fd, self.size)
        if address:
            self._warm(address)
        return address

    def _warm(self, address: int) -> None:
        """Map what the page cache holds already, so that the exit path finds it."""
        for start in range(0, min(self.size, WARM_LIMIT), 64 << 20):
            length = min(64 << 20, self.size - start)
            pages = ffi.new("uint8_t[]", -(-length // PAGE))
            if lib.resident(address + start, length, pages) < 0:
                return
            for run in re.finditer(rb"\x01+", bytes(ffi.buffer(pages)).translate(_RESIDENT)):
                lib.populate(address + start + run.start() * PAGE, len(run[0]) * PAGE)

    def populate(self, offset: int, length: int) -> None:
        """Read in and map the pages around a miss, so that the exit path finds the next one."""
        if self.address:
            start = offset // WINDOW * WINDOW
            end = min(-(-(offset + length) // WINDOW) * WINDOW, self.size)
            lib.populate(self.address + start, end - start)

    # I/O; each raises OSError

    def read(self, buffers: list[memoryview], offset: int) -> None:
        self._transfer(os.preadv, buffers, offset)

    def write(self, buffers: list[memoryview], offset: int) -> None:
        self._transfer(os.pwritev, buffers, offset)

    def write_through(self, buffers: list[memoryview], offset: int) -> None:
        """A write that is on the disk when this returns."""
        self.write(buffers, offset)
        self.flush()

    def _transfer(self, call, buffers: list[memoryview], offset: int) -> None:
        length = sum(len(buffer) for buffer in buffers)
        if self.direct:
            self._bounce(call, buffers, offset, length)
            return
        done = call(self.fd, buffers, offset)
        while done < length:        # a short transfer: go on where it stopped
            rest, skip = [], done
            for buffer in buffers:
                if skip < len(buffer):
                    rest.append(buffer[skip:])
                skip = max(0, skip - len(buffer))
            more = call(self.fd, rest, offset + done)
            if more <= 0:
                raise OSError(errno.EIO, f"{self.path}: {done} of {length} bytes at {offset:#x}")
            done += more

    def _bounce(self, call, buffers, offset: int, length: int) -> None:
        """O_DIRECT needs aligned memory, which a guest's buffers need not be: through some of ours, in
        pieces, as a few descriptors can ask for the whole disk."""
        with mmap.mmap(-1, min(BOUNCE + PAGE, -(-length // PAGE) * PAGE + PAGE)) as bounce:
            view = memoryview(bounce)
            try:
                for window in _windows(buffers, BOUNCE):
                    self._bounce_window(call, view, window, offset)
                    offset += sum(map(len, window))
            finally:
                view.release()

    def _bounce_window(self, call, bounce: memoryview, window: list[memoryview], offset: int) -> None:
        """At most BOUNCE bytes; what is around them in their pages stays as it is."""
        end = offset + sum(map(len, window))
        first, last = offset // PAGE * PAGE, min(-(-end // PAGE) * PAGE, self.size)
        with bounce[:last - first] as whole:
            if call is os.preadv or (first, last) != (offset, end):
                self._whole(os.preadv, whole, first)
            at = offset - first
            for part in window:
                if call is os.preadv:
                    part[:] = whole[at:at + len(part)]
                else:
                    whole[at:at + len(part)] = part
                at += len(part)
            if call is os.pwritev:
                self._whole(os.pwritev, whole, first)

    def _whole(self, call, view, offset: int) -> None:
        if call(self.fd, [view], offset) != len(view):
            raise OSError(errno.EIO, f"{self.path}: short transfer at {offset:#x}")

    def flush(self) -> None:
        os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        self._allocate(PUNCH_HOLE, offset, length)

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None:
        try:
            self._allocate(PUNCH_HOLE if unmap else ZERO_RANGE, offset, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            zeros = memoryview(bytes(min(length, 1 << 20)))
            for at in range(0, length, len(zeros)):
                self.write([zeros[:min(len(zeros), length - at)]], offset + at)

    def _allocate(self, mode: int, offset: int, length: int) -> None:
        error = lib.file_allocate(self.fd, mode, offset, length)
        if error < 0:
            raise OSError(-error, f"{self.path}: {os.strerror(-error)}")

    def close(self) -> None:
        if self.address:
            lib.unmap_file(self.address, self.size)
            self.address = 0
        fcntl.flock(self.fd, fcntl.LOCK_UN)     # a ring that had it may take a while to let go
        os.close(self.fd)
