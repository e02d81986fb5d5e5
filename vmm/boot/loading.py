"""What loaders of all formats share: files, segments and modules put into guest memory, and the memory map."""

from __future__ import annotations

from pathlib import Path

from .. import files
from ..errors import UserError
from ..kvm.addresses import ACPI_END, ACPI_TABLES, CONVENTIONAL_END, ECAM, ECAM_BYTES, HIGH_START, MIB, MP_END
from ..kvm.memory import GuestAddressError, GuestMemory

RAM, RESERVED, ACPI = 1, 2, 3       # E820 types


class BootError(UserError):
    """The guest's file cannot be booted."""


def read_file(path: Path, wanted: str, most: int) -> bytes:
    """A file of `most` bytes at most.  Raises BootError, which says what was wanted of it."""
    try:
        return files.read(path, most)
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; wanted {wanted}") from None


def put(memory: GuestMemory, address: int, data: bytes, what: str) -> None:
    """Write to guest-physical `address`.  Raises BootError, which begins with `what` it is."""
    try:
        memory.write(address, data)
    except GuestAddressError as error:
        raise BootError(f"{what}: {error}") from None


def check_place(path: Path, start: int, size: int, lowest: int = 0) -> None:
    """Raises BootError where a guest's segment lies below `lowest` or over firmware's tables."""
    found = f"{path}: segment from {start:#x} to {start + size:#x}"
    if start < lowest:
        raise BootError(f"{found}; wanted it above {lowest:#x}, as boot data lies below")
    if start < MP_END and start + size > ACPI_TABLES:
        raise BootError(f"{found}; wanted it not over firmware's tables, {ACPI_TABLES:#x} to {MP_END:#x}")


def load_segment(memory: GuestMemory, path: Path, elf, segment) -> None:
    """Read a segment into memory, without a copy on the way; the rest of it is zeros."""
    start, length, size = segment["p_paddr"], segment["p_filesz"], segment["p_memsz"]
    if length > size:
        raise BootError(f"{path}: segment of {length:#x} bytes in the file, {size:#x} in memory; wanted no fewer")
    try:
        at = memory.offset(start, size)
    except GuestAddressError as error:
        raise BootError(f"{path}: segment: {error}") from None
    elf.read_into(segment["p_offset"], memory.view[at:at + length], "the end of a segment")
    memory.view[at + length:at + size] = bytes(size - length)


def load_modules(memory: GuestMemory, modules: list[Path], bottom: int, top: int,
                 what: str) -> list[tuple[int, int]]:
    """Put modules as high as they go below `top`, out of a kernel's way; (address, bytes) of each.  `what`
    they are called in errors."""
    placed = []
    for path in modules:
        data = read_file(path, f"the guest's {what}, no larger than its memory", memory.size)
        top = (top - len(data)) // 4096 * 4096
        if top < bottom:
            raise BootError(f"{path}: {what} of {len(data)} bytes, which do not fit between the kernel and the end of "
                            f"{memory.size >> 20} MiB of RAM; wanted more memory (--mem)")
        put(memory, top, data, f"{path}: {what}")
        placed.append((top, len(data)))
    return placed


def memory_map(memory: GuestMemory) -> list[tuple[int, int, int]]:
    """What lies where, as firmware would tell: (address, bytes, E820 type)."""
    found = [(0, CONVENTIONAL_END, RAM), (ACPI_TABLES, ACPI_END - ACPI_TABLES, ACPI)]
    if memory.low > MIB:
        found.append((MIB, memory.low - MIB, RAM))
    found.append((ECAM, ECAM_BYTES, RESERVED))
    if memory.size > memory.low:
        found.append((HIGH_START, memory.size - memory.low, RAM))
    return found
