"""Guest RAM: one run of bytes in this process, with a hole below 4 GiB for the guest.

Where a kernel half is to reach it, it is BPF map memory: elements of at most 512 MiB, of which there is one, or
several of one size, a power of two.  Each has some slack behind it that is no guest's (the verifier adds the most that
an offset can be and the most that a length can be).
"""

from __future__ import annotations

from pathlib import Path

from ..devmodel.exit_path import CHUNK, REGION_SHIFT, MemoryLayout
from ..devmodel.layout import layout_block
from ..devmodel.view import view_of
from ..errors import UserError
from ..sync._shared import ffi
from ..sync.region import PAGE, Piece, Region
from .addresses import HIGH_START, LOW_END

MIB = 1 << 20
LARGEST_ELEMENT, SMALLEST_ELEMENT = 1 << REGION_SHIFT, 32 * MIB
SPARE = 8       # of RAM, so many parts, one may be taken without being given to the guest
SMALLEST, LARGEST = MIB, 64 << 30


class GuestAddressError(ValueError):
    """A guest address, or a run of them, that is not RAM."""


def element_for(size: int) -> int:
    """Bytes of RAM in one map element: the most that leaves little of the last one unused, as a buffer in two of them
    is declined."""
    if size <= LARGEST_ELEMENT:
        return size
    element = LARGEST_ELEMENT
    while element > SMALLEST_ELEMENT and -size % element > size // SPARE:
        element //= 2
    return element


class GuestMemory:
    """`size` bytes of RAM.  Every access by guest-physical address is bounds-checked."""

    def __init__(self, size: int, bpf=None, private: bool = False):
        """`bpf` is vmm.kvm.bpf.Maps where the RAM shall be map memory; else it is a memfd's, or `private`."""
        if size % PAGE or not SMALLEST <= size <= LARGEST:
            raise UserError(f"memory of {size} bytes; wanted {SMALLEST >> 20} MiB to "
                            f"{LARGEST >> 30} GiB in whole pages of {PAGE} bytes")
        self.size = size
        self.low = min(size, LOW_END)
        self.element = element_for(size)
        self.map_fd = -1
        self.region = self._map_memory(bpf) if bpf else (Region.private if private else Region.anonymous)("ram", size)
        self.view = self.region.view
        # 16 bits in one access each, for indices that a guest watches: struct.pack_into() clears what
        # it writes to first, and "<H" goes byte by byte
        self.words = self.view.cast("H")
        self.address = self.region.address

    def _map_memory(self, bpf) -> Region:
        count = -(-self.size // self.element)
        stride = self.element + CHUNK
        self.map_fd = bpf.array("ram", stride, count)
        lengths = [min(self.element, self.size - i * self.element) for i in range(count)]
        return Region("ram", [Piece(self.map_fd, i * stride, length) for i, length in enumerate(lengths)])

    @property
    def kind(self) -> str:
        return "BPF map memory" if self.map_fd >= 0 else "shared" if self.region.fds else "private"

    def huge_bytes(self) -> int:
        """How much of it is in huge pages now (proc(5), smaps)."""
        found, inside = 0, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            key, _, rest = line.partition(" ")
            if "-" in key and not key.endswith(":"):
                start, end = (int(each, 16) for each in key.split("-"))
                inside = self.address <= start and end <= self.address + self.size
            elif inside and key == "AnonHugePages:":
                found += int(rest.split()[0]) << 10
        return found

    def slots(self) -> list[tuple[int, int, int]]:
        """(guest-physical address, size, address in this process) of each contiguous run."""
        runs = [(0, self.low, self.address)]
        if self.size > self.low:
            runs.append((HIGH_START, self.size - self.low, self.address + self.low))
        return runs

    def layout(self):
        """The MemoryLayout struct that handlers are given; keep the returned pair together."""
        block = layout_block(MemoryLayout)
        raw = ffi.new("uint64_t[]", block.size // 8)
        view = view_of(block)(int(ffi.cast("uintptr_t", raw)), raw)
        view.bytes, view.low, view.high, view.element = self.size, self.low, HIGH_START, self.element
        view.shift = REGION_SHIFT if self.element == self.size else self.element.bit_length() - 1
        return view, raw

    def offset(self, gpa: int, length: int) -> int:
        """Where in `view` the run lies.  Raises GuestAddressError unless all of it is RAM."""
        if 0 <= gpa and gpa + length <= self.low:
            return gpa
        if gpa >= HIGH_START and gpa - HIGH_START + self.low + length <= self.size:
            return gpa - HIGH_START + self.low
        raise GuestAddressError(f"guest memory {gpa:#x} to {gpa + length:#x}; wanted a run inside "
                                f"{self.size >> 20} MiB of RAM")

    def read(self, gpa: int, length: int) -> bytes:
        at = self.offset(gpa, length)
        return bytes(self.view[at:at + length])

    def write(self, gpa: int, data) -> None:
        at = self.offset(gpa, len(data))
        self.view[at:at + len(data)] = data

    def read_u16(self, gpa: int) -> int:
        return self.words[self.offset(gpa, 2) >> 1]

    def write_u16(self, gpa: int, value: int) -> None:
        self.words[self.offset(gpa, 2) >> 1] = value

    def close(self) -> None:
        self.words.release()
        self.region.close()
