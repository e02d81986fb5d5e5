"""What the image of a benchmark lies on: a folder that is there, or file systems and a block device beside each other.

Those are made for one run.  None of them has a name that stays: what is on loop devices are nameless files, and a file
system is detached from its folder as soon as it is mounted, after which a descriptor of this process keeps it.  So all
of it goes when the process does, however it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..sync.signals import temporary_folder, uninterrupted
from .native import binding

IMAGE_BYTES = 64 << 20
LOOP_BYTES = 320 << 20      # of a file system, which takes what is written: mkfs.xfs wants 300 MiB at least
MKFS = {"ext4": ["mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
        "xfs": ["mkfs.xfs", "-q", "-K"]}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}


@dataclass(frozen=True)
class Storage:
    """An image, and what it is on where that was asked for; `cache` is the disk's."""

    image: Path
    name: str | None = None
    cache: str = "writeback"


@contextmanager
def prepared(names: list[str], where: Path | None) -> Iterator[list[Storage]]:
    """Images of random bytes on each of those; on the folder `where` itself if there are none.  With names, this
    thread has a mount namespace of its own from here on, and `where` holds the nameless files."""
    with ExitStack() as stack:
        if names:
            found = _beside_each_other(names, where, stack)
        else:
            found = [Storage(Path(stack.enter_context(temporary_folder("splitvmm-bench-", where))) / "disk")]
        for storage in found:
            _fill(storage.image)
        yield found


def _beside_each_other(names: list[str], where: Path | None, stack: ExitStack) -> list[Storage]:
    makers = {name: _mkfs(name) for name in names if name in MKFS}
    if error := binding()[1].new_mounts():
        raise UserError(f"--on: a mount namespace: {os.strerror(-error)}; wanted CAP_SYS_ADMIN, as root has")
    return [_made(name, makers.get(name), where, stack) for name in names]


def _mkfs(name: str) -> list[str]:
    """The command that makes such a file system; said before anything is measured where there is none."""
    command, *options = MKFS[name]
    path = shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if not path:
        raise UserError(f"--on {name}: no {command}; wanted the package {PACKAGES[name]}, or {name} left out")
    return [path, *options]


def _made(name: str, mkfs: list[str] | None, where: Path | None, stack: ExitStack) -> Storage:
    if name == "tmpfs":
        return Storage(_mounted(name, ["-o", f"size={2 * IMAGE_BYTES}", "tmpfs"], stack) / "disk", name)
    fd, device = _loop(name, where, LOOP_BYTES if mkfs else IMAGE_BYTES)
    stack.callback(os.close, fd)        # the device is let go of when nobody has it open, nor mounted
    if not mkfs:
        return Storage(device, name, "none")
    _do(name, [*mkfs, str(device)])
    return Storage(_mounted(name, [str(device)], stack) / "disk", name)


def _loop(name: str, where: Path | None, size: int) -> tuple[int, Path]:
    """A loop device on a nameless file of so many bytes: its descriptor, and where it is."""
    try:
        file = tempfile.TemporaryFile(dir=where)
    except OSError as error:
        raise UserError(f"--directory {where}: {error.strerror}; wanted a folder to write to") from None
    ffi, lib = binding()
    number = ffi.new("int *")
    with file:
        file.truncate(size)
        fd = lib.new_loop(file.fileno(), number)
    if fd < 0:
        raise UserError(f"--on {name}: a loop device: {os.strerror(-fd)}; wanted /dev/loop-control, and to be root")
    return fd, Path(f"/dev/loop{number[0]}")


def _mounted(name: str, source: list[str], stack: ExitStack) -> Path:
    """A file system that has no place, but is there as long as this process."""
    with temporary_folder("splitvmm-bench-") as folder, uninterrupted():
        try:
            _do(name, ["mount", "-t", name, *source, folder])
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
        finally:
            subprocess.run(["umount", "--lazy", folder], capture_output=True, start_new_session=True)
    return Path(f"/proc/{os.getpid()}/fd/{fd}")


def _do(name: str, command: list[str]) -> None:
    """In a session of its own: what a terminal's Ctrl-C ends is us, who then clear up."""
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    if done.returncode:
        raise UserError(f"--on {name}: {Path(command[0]).name}: status {done.returncode}: "
                        f"{' '.join(done.stderr.split())[-200:]}")


def _fill(image: Path) -> None:
    """With random bytes, which are in the page cache then, and on the disk."""
    with open(image, "r+b" if image.is_block_device() else "xb") as file:
        file.write(os.urandom(IMAGE_BYTES))
        file.flush()
        os.fsync(file.fileno())
