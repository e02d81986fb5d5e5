"""The BIOS's ROM: which file it is, and where a CPU finds it."""

from __future__ import annotations

from pathlib import Path

from .. import files
from ..errors import UserError
from ..kvm.addresses import HIGH_START, KIB, KVM_TSS, KVM_TSS_BYTES, MIB
from ..kvm.memory import GuestMemory
from ..sync.region import PAGE, Region

NAMED = {"seabios": Path("/usr/share/seabios/bios-256k.bin")}       # where Debian has it
VGA = Path("/usr/share/seabios/vgabios-stdvga.bin")
MOST_BYTES = HIGH_START - KVM_TSS - KVM_TSS_BYTES
LEAST_BYTES = 64 * KIB          # what real mode's last segment has
SHADOW_BYTES = 256 * KIB        # at most, which are below 1 MiB as well.  As RAM: SeaBIOS writes to it, and finds no
                                # host bridge here by which it would have to make it so
MEMORY_LEAST = 16 * MIB         # in which SeaBIOS's tables and ours have room


def find(name: Path) -> Path:
    """A ROM's file, by the firmware's name or its own."""
    return NAMED.get(str(name), name)


def read(path: Path) -> bytes:
    """Raises UserError."""
    try:
        data = files.read(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; wanted a BIOS: seabios, of the Debian package of that name, or the "
                        "ROM's file") from None
    if not LEAST_BYTES <= len(data) <= MOST_BYTES or len(data) % PAGE:
        raise UserError(f"{path}: {len(data)} bytes; wanted a BIOS of {LEAST_BYTES >> 10} to {MOST_BYTES >> 10} KiB, "
                        f"in whole pages of {PAGE}")
    return data


def read_vga() -> bytes:
    """The display's own ROM, which SeaBIOS runs.  Raises UserError."""
    try:
        return VGA.read_bytes()
    except OSError as error:
        raise UserError(f"{VGA}: {error.strerror}; wanted the Debian package seabios installed, or no --vga") from None


def place(vm, memory: GuestMemory, data: bytes) -> Region:
    """Put a ROM where it belongs; its memory, which is the caller's.  Raises UserError."""
    if memory.size < MEMORY_LEAST:
        raise UserError(f"{memory.size >> 20} MiB of memory with a BIOS; wanted {MEMORY_LEAST >> 20} MiB or more "
                        "(--mem)")
    region = Region.anonymous("rom", len(data))
    region.view[:] = data
    if vm:
        vm.add_memory(HIGH_START - len(data), len(data), region.address, read_only=True)
    shadow = data[-SHADOW_BYTES:]
    memory.write(MIB - len(shadow), shadow)
    return region
