"""What a VM says of itself, which is hostile: checked before anything of it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from ..devmodel.exit_path import DEVICES, VCPUS
from ..devmodel.layout import CACHE_LINE, MAX_REASONS
from ..sync.directory import FORMAT, HEADER, LONGEST, MAGIC, ROOM, blocks_hash
from ..sync.shadow import CONTROL, Shadow
from .process import Places, Unreadable

TRIES = 1000            # at a directory that changes
MOST_QUEUES = 256       # of one device
MOST_STATE = 1 << 20    # bytes before its first queue
MODES = ("off", "host", "on")
EXECUTORS = ("kvm", "auto", "emulator")


@dataclass(frozen=True)
class Device:
    """Where one device's shared state is in its process; `uring` is the first of `urings` io_urings."""

    name: str
    schema: str
    version: int
    offload: str
    state: int
    queues: int
    shadow: Shadow
    uring: int
    urings: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Vm:
    """One VM, and its directory as it was when it said so; `vcpus` are addresses of each one's counts."""

    pid: int
    at: int
    header: bytes
    began_ns: int       # CLOCK_MONOTONIC
    executor: str       # what runs its vCPUs
    vcpus: tuple[int, ...]
    devices: tuple[Device, ...]

    @property
    def key(self) -> tuple[int, int]:
        """The same as long as it is the same VM."""
        return self.pid, self.began_ns


def listed(pid: int, at: int) -> Vm:
    """What the directory at this address says.  Raises Gone or Unreadable."""
    header, packed = _read(pid, at)
    return _vm(pid, at, header, packed)


def _read(pid: int, at: int) -> tuple[bytes, bytes]:
    for _ in range(TRIES):
        head, = Places(pid, [(at, HEADER.size)]).read()
        sequence, size = _header(head)
        if sequence & 1:
            continue
        before, packed, after = Places(pid, [(at, HEADER.size), (at + HEADER.size, size), (at, HEADER.size)]).read()
        if head == before == after:
            return head, packed
    raise Unreadable("its directory never stands still")


def _header(head: bytes) -> tuple[int, int]:
    """Sequence, and bytes of what follows."""
    magic, number, sequence, size, _ = HEADER.unpack(head)
    if magic != MAGIC:
        raise Unreadable(f"its directory begins with {magic.hex()}; wanted {MAGIC.hex()}")
    if number != FORMAT:
        raise Unreadable(f"its directory has format {number}; wanted {FORMAT}, which this version of splitvmm reads")
    if size > ROOM - HEADER.size:
        raise Unreadable(f"{size} bytes of directory; wanted at most {ROOM - HEADER.size}")
    return sequence, size


def _vm(pid: int, at: int, header: bytes, packed: bytes) -> Vm:
    try:
        found = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException):
        raise Unreadable("its directory is no msgpack") from None
    top = _Fields("directory", found)
    if (blocks := top.number("blocks")) != blocks_hash():
        raise Unreadable(f"its queues have layout {blocks:#x}; wanted {blocks_hash():#x}, which this version of "
                         "splitvmm reads")
    vcpus = top.items("vcpus", VCPUS, lambda where, value: _number(where, value, 0, (1 << 64) - 1))
    devices = top.items("devices", DEVICES, lambda where, value: _device(_Fields(where, value)))
    return Vm(pid, at, header, top.number("began_ns"), top.word("executor", EXECUTORS), vcpus, devices)


def _device(found: _Fields) -> Device:
    queues, at = found.number("queues", MOST_QUEUES), found.number("at", MOST_STATE)
    if queues and (at < CONTROL.size or at % CACHE_LINE):
        raise Unreadable(f"{found.where}.at: {at}; wanted {CONTROL.size} or more, a multiple of {CACHE_LINE}")
    offload = found.word("offload", MODES)
    name = found.text("name")
    return Device(name, found.text("schema"), found.number("version"), offload, found.number("state"), queues,
                  Shadow(name, queues, at), found.number("uring"), found.number("urings", queues),
                  found.items("reasons", MAX_REASONS - 1, _text))


class _Fields:
    """A map of the directory's.  Everything raises Unreadable."""

    def __init__(self, where: str, found: object):
        if not isinstance(found, dict):
            raise Unreadable(f"{where}: {_kind(found)}; wanted a map")
        self.where, self._found = where, found

    def number(self, key: str, most: int = (1 << 64) - 1) -> int:
        return _number(f"{self.where}.{key}", self._found.get(key), 0, most)

    def text(self, key: str) -> str:
        return _text(f"{self.where}.{key}", self._found.get(key))

    def word(self, key: str, of: tuple[str, ...]) -> str:
        found = self.text(key)
        if found not in of:
            raise Unreadable(f"{self.where}.{key}: {found!r}; wanted {', '.join(of)}")
        return found

    def items(self, key: str, most: int, item: Callable[[str, object], Any]) -> tuple:
        where, found = f"{self.where}.{key}", self._found.get(key)
        if not isinstance(found, list):
            raise Unreadable(f"{where}: {_kind(found)}; wanted a list")
        if len(found) > most:
            raise Unreadable(f"{where}: {len(found)} of them; wanted at most {most}")
        return tuple(item(f"{where}[{i}]", value) for i, value in enumerate(found))


def _number(where: str, value: object, low: int, high: int) -> int:
    if type(value) is not int:
        raise Unreadable(f"{where}: {_kind(value)}; wanted a whole number")
    if not low <= value <= high:
        raise Unreadable(f"{where}: {value}; wanted {low} to {high}")
    return value


def _text(where: str, value: object) -> str:
    """A name that a terminal can be shown."""
    if not isinstance(value, str) or len(value) > LONGEST:
        raise Unreadable(f"{where}: {_kind(value)}; wanted a text of at most {LONGEST} characters")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in value)


def _kind(value: object) -> str:
    """In a word, as the value itself may be anything."""
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
