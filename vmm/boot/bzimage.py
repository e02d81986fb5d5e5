"""Linux's own boot protocol, the 64-bit entry (Documentation/arch/x86/boot.rst)."""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import UserError
from ..kvm.addresses import MIB
from ..kvm.memory import GuestMemory

KERNEL = MIB                    # where the protected-mode part is put; it moves itself
ENTRY = 0x200                   # of the 64-bit entry, from there
SETUP_HEADER = 0x1f1            # offset in the file and in the boot parameters
HEADER_END = 0x264              # of what is read of it
MAGIC_AT, MAGIC = 0x202, b"HdrS"
OLDEST = 0x20c                  # has xloadflags, which tell of the 64-bit entry
HAS_RSDP = 0x20e                # has acpi_rsdp_addr
LOADED_HIGH = 1                 # loadflags
ENTRY_64 = 1                    # xloadflags: there is a 64-bit entry
LOADER_UNDEFINED = 0xff         # type_of_loader
RSDP_AT, MAP_ENTRIES_AT, MAP_AT, MAP_MOST = 0x070, 0x1e8, 0x2d0, 128


class BadImage(UserError):
    """The kernel cannot be booted."""


def is_bzimage(head: bytes) -> bool:
    """Whether a file that starts like this is a bzImage."""
    return head[MAGIC_AT:MAGIC_AT + 4] == MAGIC


class BzImage:
    """A kernel's file, looked at: raises BadImage if it cannot be booted here."""

    def __init__(self, path: Path, data: bytes):
        self.path, self.data = path, data
        if len(data) < HEADER_END:
            raise BadImage(f"{path}: {len(data)} bytes; wanted a whole kernel")
        self.header_end = 0x202 + data[0x201]       # the jump over the header tells its length
        self.version, = struct.unpack_from("<H", data, 0x206)
        xloadflags, = struct.unpack_from("<H", data, 0x236)
        if self.version < OLDEST:
            raise BadImage(f"{path}: boot protocol {self.version >> 8}.{self.version & 0xff}; wanted 2.12 or later")
        if not data[0x211] & LOADED_HIGH or not xloadflags & ENTRY_64:
            raise BadImage(f"{path}: no 64-bit entry; wanted a kernel for x86-64")
        self.initrd_limit = struct.unpack_from("<I", data, 0x22c)[0] + 1
        self.command_line_bytes, = struct.unpack_from("<I", data, 0x238)
        preferred, room = struct.unpack_from("<QI", data, 0x258)
        self.end = preferred + room         # guest-physical; below it the kernel unpacks itself
        self._code_at = 512 * ((data[SETUP_HEADER] or 4) + 1)
        if len(data) <= self._code_at:
            raise BadImage(f"{path}: ends at byte {len(data)}, in its setup code; wanted a whole kernel")

    def load(self, memory: GuestMemory) -> int:
        """Put it into memory; returns where its entry is.  Raises BadImage."""
        end = max(self.end, KERNEL + len(self.data) - self._code_at)
        if end > memory.low:
            raise BadImage(f"{self.path}: needs memory up to {-(-end // MIB)} MiB to unpack itself; wanted "
                           f"more than {memory.low // MIB} MiB (--mem)")
        memory.write(KERNEL, memoryview(self.data)[self._code_at:])
        return KERNEL + ENTRY

    def parameters(self, command_line: int, initrd: tuple[int, int], rsdp: int,
                   memory_map: list[tuple[int, int, int]]) -> bytes:
        """The page of boot parameters; `initrd` is (address, bytes), `memory_map` of (address, bytes,
        E820 type)."""
        page = bytearray(4096)
        page[SETUP_HEADER:self.header_end] = self.data[SETUP_HEADER:self.header_end]
        page[0x210] = LOADER_UNDEFINED
        struct.pack_into("<II", page, 0x218, *initrd)
        struct.pack_into("<I", page, 0x228, command_line)
        if self.version >= HAS_RSDP:        # an older one looks for it below 1 MiB
            struct.pack_into("<Q", page, RSDP_AT, rsdp)
        page[MAP_ENTRIES_AT] = len(memory_map)
        for i, entry in enumerate(memory_map):
            struct.pack_into("<QQI", page, MAP_AT + 20 * i, *entry)
        return bytes(page)
