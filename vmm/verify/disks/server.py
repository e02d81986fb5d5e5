"""The file system of faulty.py: files whose reads, writes and flushes fail, stop short, or take their time.

    unshare --mount python -m vmm.verify.disks.server FOLDER

mounts itself on FOLDER, seen by nobody but this process and whoever goes by way of /proc/PID/root, so that nothing is
left of it, however it ends.  What it is told are lines of JSON on its standard input, each answered by one; it ends
with them.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
import time
from typing import Any

import mfusepy

LATE_S = 0.004          # how long a request takes that is late: others overtake it


class Disks(mfusepy.Operations):
    """Files by number: `/0` and so on.  A fault is [operation, first, end, result]: of bytes from `first` to `end`."""

    use_ns = True

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.faults: list[list[list[Any]]] = []

    # what is told

    def obey(self) -> None:
        for line in sys.stdin:
            asked = json.loads(line)
            if "file" in asked:
                self.fds.append(os.open(asked["file"], os.O_RDWR | os.O_CLOEXEC))
                self.faults.append([])
            else:
                self.faults[asked["number"]] = asked["faults"]
            print(len(self.fds) - 1, flush=True)
        os._exit(0)

    # the file system

    def init(self, path: str) -> None:
        threading.Thread(target=self.obey, daemon=True).start()
        print("ready", flush=True)

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        fd = self.fds[self._number(path)]
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": os.fstat(fd).st_size}

    def open(self, path: str, fi: Any) -> None:
        """Each request comes here, none is answered by the page cache."""
        fi.fh, fi.direct_io = self._number(path), 1

    def _number(self, path: str) -> int:
        name = path.removeprefix("/")
        if not name.isdecimal() or int(name) >= len(self.fds):
            raise mfusepy.FuseOSError(errno.ENOENT)
        return int(name)

    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
        return os.pread(self.fds[fi.fh], self._room(fi.fh, "read", offset, size), offset)

    def write(self, path: str, data: bytes, offset: int, fi: Any) -> int:
        done = os.pwrite(self.fds[fi.fh], data[:self._room(fi.fh, "write", offset, len(data))], offset)
        if fi.flags & os.O_DSYNC:       # or RWF_DSYNC: fuse_write_flags(), fs/fuse/file.c
            self.fsync(path, 1, fi)
        return done

    def fsync(self, path: str, datasync: int, fi: Any) -> int:
        self._room(fi.fh, "flush", 0, 1)
        return 0

    def _room(self, number: int, operation: str, offset: int, size: int) -> int:
        """How many bytes are done: as a disk does, up to what fails.  Raises FuseOSError where that is the first."""
        for kind, first, end, result in self.faults[number]:
            if kind != operation or first >= offset + size or end <= offset:
                continue
            if result == "late":
                time.sleep(LATE_S)
            elif first > offset:
                size = first - offset
            elif result != "short":
                raise mfusepy.FuseOSError(getattr(errno, result))
        return size


if __name__ == "__main__":
    mfusepy.FUSE(Disks(), sys.argv[1], foreground=True, raw_fi=True)
