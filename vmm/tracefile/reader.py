"""A recording, item by item.  Whatever is in the file, nothing but events comes out of it, or a UserError that says at
which byte it is not one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..devmodel.exit_path import Half
from ..devmodel.layout import layout_block
from ..devmodel.recording import FORMAT, NO_QUEUE, VERSION, Event, EventKind
from ..errors import UserError
from .described import Device, NotAsWanted, Register, device_of, number, part

log = logging.getLogger("splitvmm")

FIELDS = [field.name for field in layout_block(Event).fields]
LIMITS = {"max_buffer_size": 16 << 20, "max_str_len": 1 << 12, "max_bin_len": 0, "max_array_len": 1 << 16,
          "max_map_len": 1 << 16, "max_ext_len": 0}     # bytes, and items
KINDS, HALVES = {int(kind): kind for kind in EventKind}, {int(half): half for half in Half}
ACCESSES = (EventKind.WRITE, EventKind.READ, EventKind.DECLINE, EventKind.INTERRUPT)


@dataclass(slots=True)
class Happened:
    """An event.  `queue` is None for the device as a whole, `register` where the event is no access of one."""

    time_ns: int        # since the recording began
    kind: EventKind
    half: Half
    device: Device
    queue: int | None
    register: Register | None
    offset: int
    width: int
    value: int
    reason: str         # the device's name for it, or ""
    thread: str         # vcpu0, or the thread's number
    took_ns: int

    @property
    def doorbell(self) -> bool:
        """Whether it is a doorbell that is rung."""
        return self.kind is EventKind.WRITE and self.register is not None and self.register.doorbell


@dataclass(slots=True)
class Gap:
    """Events that are not there: so many were dropped until then."""

    time_ns: int
    dropped: int


class Reader:
    """Iterates over what has happened.  `start` and `end` are the items that a recording begins and ends with, once
    they were read."""

    def __init__(self, path: Path):
        """Raises UserError for what is no recording."""
        self.path = path
        self.start: dict[str, int] = {}
        self.end: dict[str, Any] | None = None
        self._devices: dict[int, Device] = {}
        self._vcpus: dict[tuple[bool, int], int] = {}
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; wanted a recording, of run --record") from None

    def __iter__(self) -> Iterator[Happened | Gap]:
        """Raises UserError at the first byte that is not as wanted."""
        with self._file:
            for at, item in self._items():
                try:
                    found = self._take(item)
                except NotAsWanted as error:
                    raise UserError(f"{self.path}: byte {at}: {error}") from None
                if found is not None:
                    yield found
        if not self.start:
            raise UserError(f"{self.path}: byte 0: nothing; wanted a recording, of run --record")
        if self.end is None:
            log.warning("%s: no item ends it; it is what there was when its process was killed", self.path)

    def _items(self) -> Iterator[tuple[int, Any]]:
        """(where it starts, item)."""
        import msgpack
        try:
            unpacker = msgpack.Unpacker(self._file, strict_map_key=False, **LIMITS)
            while True:
                at = unpacker.tell()
                try:
                    yield at, unpacker.unpack()
                except msgpack.OutOfData:
                    break
                except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
                    raise UserError(f"{self.path}: byte {at}: {type(error).__name__} {error}; wanted "
                                    f"{'msgpack' if at else 'a recording, of run --record'}") from None
            if at < self._file.tell():
                raise UserError(f"{self.path}: byte {at}: an item that does not end; wanted "
                                f"{'the rest of it' if at else 'a recording, of run --record'}")
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}; wanted a file to read") from None

    def _take(self, item: Any) -> Happened | Gap | None:
        if type(item) is dict and item.get("format") == FORMAT:
            self._begin(item)
            return None
        if not self.start:
            raise NotAsWanted(f"no {FORMAT!r}; wanted a recording, of run --record")
        if type(item) is list:
            return self._event(item)
        if type(item) is dict and "device" in item:
            device = device_of(item)
            self._devices[device.slot] = device
            return None
        if type(item) is dict and "end" in item:
            self.end = item
            number(item.get("dropped"), "events dropped")
            return None
        if type(item) is dict and "dropped" in item:
            return Gap(self._since(part(item, "time", number, "a gap")), part(item, "dropped", number, "a gap"))
        raise NotAsWanted(f"{item!r:.80}; wanted an event, a device, a gap or an end")

    def _since(self, time: int) -> int:
        """ns since the recording began."""
        if time < self.start["monotonic_ns"]:
            raise NotAsWanted(f"the time {time}; wanted one after the recording's start, {self.start['monotonic_ns']}")
        return time - self.start["monotonic_ns"]

    def _begin(self, item: dict) -> None:
        """A machine has started: the first one, or after the guest restarted."""
        if item.get("version") != VERSION or item.get("event") != FIELDS:
            raise NotAsWanted(f"version {item.get('version')!r:.80} of the format; wanted {VERSION}")
        self.start = {key: part(item, key, number, "the header") for key in ("monotonic_ns", "wall_ns")}
        self.end = None
        self._devices, self._vcpus = {}, {}

    def _event(self, item: list) -> Happened | None:
        if len(item) != len(FIELDS):
            raise NotAsWanted(f"an event of {len(item)} fields; wanted {len(FIELDS)}")
        time, value, thread, took, offset, slot, queue, width, reason, half, kind = (
            number(each, f"an event's {name}") for name, each in zip(FIELDS, item))
        if kind not in KINDS or half not in HALVES:
            raise NotAsWanted(f"an event of kind {kind} by half {half}; wanted those of the header")
        key = (HALVES[half] is Half.KERNEL, thread)
        if KINDS[kind] is EventKind.VCPU:
            self._vcpus[key] = value
            return None
        if slot not in self._devices:
            raise NotAsWanted(f"an event of device {slot}; wanted one that was described before")
        device = self._devices[slot]
        register = device.register(offset, width) if KINDS[kind] in ACCESSES and width else None
        if register and register.doorbell and value < len(device.queues):
            queue = value       # what is written is its number (VIRTIO 1.2, 4.2.2 and 4.1.4.4)
        return Happened(
            self._since(time), KINDS[kind], HALVES[half], device, None if queue == NO_QUEUE else queue, register,
            offset, width, value, (device.reasons.get(reason) or str(reason)) if reason else "",
            f"vcpu{self._vcpus[key]}" if key in self._vcpus else str(thread), took)
