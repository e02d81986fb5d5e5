"""fw_cfg, by which a BIOS is told of its machine: numbered items and named files, read a byte at a time
(QEMU's docs/specs/fw_cfg.rst; there is no DMA)."""

from __future__ import annotations

import struct
import threading

SIGNATURE, ID, CPUS, DIRECTORY, FIRST_FILE = 0x0000, 0x0001, 0x0005, 0x0019, 0x0020     # selectors
BY_PORTS = 1                # all that ID says
NAME_BYTES = 56             # of a file's name, with the 0 at its end


class FwCfg:
    """Two ports: a selector of 16 bits, and beside it the selected item's next byte."""

    def __init__(self, cpus: int):
        self._items = {SIGNATURE: b"QEMU", ID: struct.pack("<I", BY_PORTS), CPUS: struct.pack("<H", cpus)}
        self._names: list[str] = []
        self._lock = threading.Lock()
        self._selected, self._at = 0, 0

    def add_file(self, name: str, data: bytes) -> None:
        """Before the guest runs."""
        assert len(name) < NAME_BYTES
        self._items[FIRST_FILE + len(self._names)] = bytes(data)
        self._names.append(name)
        self._items[DIRECTORY] = self._directory()

    def add_number(self, name: str, value: int) -> None:
        """A file with a number of 64 bits, as switches of SeaBIOS are."""
        self.add_file(name, struct.pack("<Q", value))

    def _directory(self) -> bytes:
        """Big-endian: how many, then size, selector and name of each."""
        entries = [struct.pack(f">IH2x{NAME_BYTES}s", len(self._items[selector]), selector, name.encode())
                   for selector, name in enumerate(self._names, FIRST_FILE)]
        return struct.pack(">I", len(entries)) + b"".join(entries)

    def read(self, offset: int, width: int) -> int:
        """The next byte; 0 behind an item's end, and of what there is not."""
        if offset != 1 or width != 1:
            return 0
        with self._lock:
            item, at = self._items.get(self._selected, b""), self._at
            self._at = min(at + 1, len(item))
            return item[at] if at < len(item) else 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset == 0 and width == 2:
            with self._lock:
                self._selected, self._at = value, 0
