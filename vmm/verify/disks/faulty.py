"""Disks on which things go wrong, below the device: files on a file system of ours (server.py), by FUSE.

A rule lasts until it is taken back, and goes by where on the disk a request is, not by how many there were: one that
fails in the kernel half fails again in the Python half, which does it once more to find out why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from functools import cache
from pathlib import Path

from ...errors import UserError
from .disk import Disk

OPERATIONS = ("read", "write", "flush")
RESULTS = {"read": ("EIO", "short", "late"), "write": ("EIO", "ENOSPC", "short", "late"),
           "flush": ("EIO", "ENOSPC", "late")}
UNSHARED = ("unshare", "--mount")       # util-linux; what is mounted then is seen by nobody else
EVERYWHERE = 1 << 62        # bytes


class FaultyDisk(Disk):
    """Requests to `path` fail; all of it can be seen nevertheless."""

    def __init__(self, disks: FaultyDisks, backing: Path):
        super().__init__(backing)
        self._disks, self._faults = disks, list[list]()
        self.number = disks.ask({"file": str(backing)})
        self.path = disks.folder / str(self.number)

    def fail(self, operation: str, first: int, size: int, result: str) -> None:
        """From now on: `result` is one of RESULTS, of requests that touch the `size` bytes from `first` on.  A flush is
        everywhere.  What lies before them is done; `short` ends a request there, and the next one goes on.
        Raises ValueError."""
        if result not in RESULTS.get(operation, ()):
            raise ValueError(f"{operation} {result}; wanted one of {RESULTS}")
        if operation == "flush":
            first, size = 0, EVERYWHERE
        self._faults.append([operation, first, first + size, result])
        self._tell()

    def mend(self) -> None:
        self._faults.clear()
        self._tell()

    def _tell(self) -> None:
        self._disks.ask({"number": self.number, "faults": self._faults})


class FaultyDisks:
    """The file system, a process of its own: one of ours would wait for itself.  Raises UserError."""

    def __init__(self) -> None:
        if reason := why_not():
            raise UserError(f"disk=faulty: {reason}")
        where = Path(tempfile.mkdtemp(prefix="splitvmm-disks-"))
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                [*UNSHARED, sys.executable, "-m", "vmm.verify.disks.server", where], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, "FUSE_LIBRARY_PATH": "libfuse3.so.3"})
        except BaseException:
            shutil.rmtree(where)
            raise
        self.folder = Path(f"/proc/{self._process.pid}/root{where}")
        self.close = weakref.finalize(self, _end, self._process, where)
        if self._answer() != "ready":
            raise self._gone()

    def add(self, backing: Path) -> FaultyDisk:
        return FaultyDisk(self, backing)

    def ask(self, what: dict) -> int:
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None
        if not (answer := self._answer()):
            raise self._gone()
        return int(answer)

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def _gone(self) -> UserError:
        self.close()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines() or ["it ended"]
        return UserError(f"disk=faulty: a file system by FUSE: {said[-1]}; wanted it to go on")


def _end(process: subprocess.Popen, where: Path) -> None:
    """Its mounts go with it."""
    process.kill()
    process.wait()
    where.rmdir()


@cache
def why_not() -> str:
    """Why there are no faulty disks to be had here, or ""."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}; wanted a kernel with FUSE"
    if os.geteuid():
        return "not root, who alone can mount a file system; wanted root"
    tried = subprocess.run([*UNSHARED, "true"], capture_output=True, text=True)
    if tried.returncode:        # / is no mount in a chroot, say
        return f"{tried.stderr.strip()}; wanted a mount namespace of its own"
    from importlib.util import find_spec
    if not find_spec("mfusepy"):
        return "no package mfusepy; wanted it: pip install 'splitvmm[faults]'"
    return ""
