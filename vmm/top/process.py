"""Another process: whether it is a VM, and its memory.  Reading that stops nothing and nobody in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..sync._shared import ffi, lib
from ..sync.directory import NAME
from ..sync.shadow import Copies

PROC = Path("/proc")
_WORD = (1 << 64) - 1
_MAPPING = f"/memfd:{NAME} (deleted)".encode()


class Gone(Exception):
    """It has ended, or the memory is not there any more."""


class Unreadable(Exception):
    """Its memory, or what is in it: says what was found, and what was wanted."""


def processes() -> Iterator[int]:
    """All of this host's, as far as it shows them."""
    yield from sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())


def directories(pid: int) -> list[int]:
    """Where in its memory a process has directories of VMs.  Raises Gone or Unreadable."""
    try:
        maps = (PROC / str(pid) / "maps").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise Gone from None
    except OSError as error:
        raise Unreadable(f"{error.strerror}; wanted root, or a process of one's own") from None
    found = []
    for line in maps.splitlines() if _MAPPING in maps else ():
        with suppress(ValueError):
            place, _, _, _, _, name = line.split(maxsplit=5)    # proc_pid_maps(5)
            if name == _MAPPING:
                found.append(int(place.partition(b"-")[0], 16))
    return found


class Places:
    """Some places of a process's memory, (address, bytes) each, to be read again and again."""

    def __init__(self, pid: int, places: list[tuple[int, int]]):
        self.pid, self._count = pid, len(places)
        self._places = ffi.new("struct memory_place[]", [(address & _WORD, size) for address, size in places])
        self._into = ffi.new("char[]", sum(size for _, size in places))
        memory, at = ffi.buffer(self._into), 0
        self._parts = []
        for _, size in places:
            self._parts.append((memory, slice(at, at + size)))
            at += size

    def read(self) -> list[bytes]:
        """What is there: one place after the other, in their order.  Raises Gone or Unreadable."""
        error = -lib.read_process(self.pid, self._places, self._count, self._into)
        if error == errno.EPERM:
            raise Unreadable("process_vm_readv: not permitted; wanted root, or a process of one's own and "
                             "kernel.yama.ptrace_scope=0")
        if error == errno.ENOSYS:
            raise Unreadable("process_vm_readv: this kernel has none; wanted CONFIG_CROSS_MEMORY_ATTACH")
        if error:
            raise Gone
        return [memory[part] for memory, part in self._parts]


def copies_of(pid: int, address: int, size: int) -> Copies:
    """As of one's own process (vmm/sync/shadow.py): the three are made by one system call, which takes its places in
    their order (process_vm_readv(2)), with barriers between, as each is pinned on its own.
    The function raises Gone or Unreadable."""
    read = Places(pid, [(address, size)] * 3).read

    def copies() -> tuple[bytes, bytes, bytes]:
        before, found, after = read()
        return before, found, after
    return copies
