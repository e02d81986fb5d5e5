"""A recording: what devices do, out of the ring of events, in order, into a file (docs/recording.md)."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from time import monotonic_ns, time_ns

from ..device.register_device import RegisterDevice
from ..devmodel.exit_path import Half
from ..devmodel.recording import EVENTS, FORMAT, VERSION, EventKind
from ..kvm.bpf import Maps
from ..sync.event_ring import FIELDS, EventRing
from ..sync.region import PAGE, Piece, Region
from .described import describe
from .record_file import RecordFile

log = logging.getLogger("splitvmm")

TICK_S = 0.01               # between two looks at the ring, which nobody is woken for
HOLD_NS = 5_000_000         # an event that is put in so much after its time still comes in order
AT_ONCE = 8192              # events that are written at once


class Recording:
    """Made before the devices and closed after them."""

    def __init__(self, path: Path, most_bytes: int, maps: Maps | None, fresh: bool,
                 failed: Callable[[BaseException], None]):
        """The ring is of `maps` where there are some.  `failed(error)` is told what ended the thread.  Raises
        UserError."""
        import msgpack
        self._pack: Callable[[object], bytes] = msgpack.Packer().pack
        self._path, self._failed = path, failed
        self._file = RecordFile(path, most_bytes, fresh)
        self._region = self._map(maps)
        self.ring = EventRing(self._region.address)
        self._told = self._unwritten = 0
        self._held: list[tuple] = []        # events whose order may change still
        self._lock = threading.Lock()       # of the file: devices are described by others than our thread
        self._file.write([self._pack(self._header())])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="recording")
        self._thread.start()

    @staticmethod
    def _map(maps: Maps | None) -> Region:
        size = -(-EventRing.BYTES // PAGE) * PAGE
        if maps is None:
            return Region.anonymous("events", size)
        return Region("events", [Piece(maps.array("events", EventRing.BYTES, 1), 0, size)])

    def _header(self) -> dict:
        return {"format": FORMAT, "version": VERSION, "monotonic_ns": monotonic_ns(), "wall_ns": time_ns(),
                "event": FIELDS, "kinds": {kind.name.lower(): int(kind) for kind in EventKind},
                "halves": {half.name.lower(): int(half) for half in Half}}

    def describe(self, device: RegisterDevice) -> None:
        """Tell the file of a device, before any event is of it."""
        with self._lock:
            self._file.write([self._pack(describe(device))])

    # on our thread

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_S):
                self._drain(monotonic_ns() - HOLD_NS)
        except BaseException as error:
            self._failed(error)

    def _drain(self, until_ns: int | None) -> None:
        """Write what has happened until then, or all.  Where the file takes no more, the ring stays full: whoever
        finds it so is done soonest."""
        while not self._file.failed and len(self._held) < EVENTS and (taken := self.ring.take()):
            self._held += taken
        self._held.sort(key=itemgetter(0))
        ready = len(self._held) if until_ns is None else bisect_right(self._held, until_ns, key=itemgetter(0))
        for at in range(0, ready, AT_ONCE):
            self._write(self._held[at:min(at + AT_ONCE, ready)])
        del self._held[:ready]
        self._tell_dropped()

    def _write(self, events: list[tuple]) -> None:
        with self._lock:
            written = self._file.write(list(map(self._pack, events)))
        self._unwritten += len(events) - written

    def _tell_dropped(self) -> None:
        dropped = self.ring.dropped
        if dropped > self._told:
            gap = {"dropped": dropped - self._told, "time": monotonic_ns()}
            with self._lock:
                self._file.write([self._pack(gap)])
            self._told = dropped

    def close(self) -> None:
        """Write what is left.  Nobody puts anything in any more."""
        self._file.ending()
        self._stop.set()
        self._thread.join()
        self._drain(None)
        dropped = self.ring.dropped + self.ring.waiting + self._unwritten
        self._file.end(self._pack({"end": self._file.failed or "closed", "dropped": dropped,
                                   "time": monotonic_ns()}))
        if dropped:
            log.warning("--record %s: %s events are not in it", self._path, f"{dropped:,}")
        self._region.close()
