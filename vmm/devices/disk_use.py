"""What an image or block device is, and is in use as, before a guest gets it."""

from __future__ import annotations

import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path

# (offset, bytes there, what the file is); docs/interop in QEMU's sources, and the formats' own documents
MAGICS = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
)
SWAPS, MOUNTS, BLOCK, DEVICES = "/proc/swaps", "/proc/self/mountinfo", "/sys/block", "/sys/dev/block"


def format_of(fd: int) -> str:
    """As qemu-img(1) calls it; "" for what is raw, as far as anyone can see."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:      # aligned, for O_DIRECT
        os.preadv(fd, [page], 0)
        head = page[:]
    return next((name for at, magic, name in MAGICS if head[at:at + len(magic)] == magic), "")


def use_of(fd: int) -> str:
    """What the host has it in use as, as far as that can be seen; "" for nothing.  Besides this,
    O_EXCL tells of a block device that anything in the kernel holds (open(2))."""
    status = os.fstat(fd)
    return _mounted(status) or _swapped(status) or _looped(status)


def zeroes_by_itself(fd: int) -> bool:
    """Whether a block device takes FALLOC_FL_PUNCH_HOLE, which becomes its own command to write zeroes
    (blkdev_fallocate, block/fops.c)."""
    status = os.fstat(fd)
    device = Path(DEVICES, f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
    for queue in (device / "queue", device.resolve().parent / "queue"):     # a partition has its disk's
        with suppress(OSError, ValueError):
            return int((queue / "write_zeroes_max_bytes").read_text()) > 0
    return False


def _lines(path: str) -> list[str]:
    with suppress(OSError):
        return Path(path).read_text(errors="surrogateescape").splitlines()
    return []


def _mounted(status: os.stat_result) -> str:
    """proc_pid_mountinfo(5): the third field is the device, the fifth where it is mounted."""
    if not stat.S_ISBLK(status.st_mode):
        return ""
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return next((f"mounted at {fields[4]}" for fields in map(str.split, _lines(MOUNTS)) if fields[2] == device), "")


def _swapped(status: os.stat_result) -> str:
    names = (line.split()[0] for line in _lines(SWAPS)[1:] if line.strip())
    return next((f"swap, {name}" for name in names if _same(name, status)), "")


def _looped(status: os.stat_result) -> str:
    for backing in Path(BLOCK).glob("loop*/loop/backing_file"):
        if any(_same(name, status) for name in _lines(str(backing))):
            return f"/dev/{backing.parent.parent.name}"
    return ""


def _same(name: str, status: os.stat_result) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(name), status)
    return False
