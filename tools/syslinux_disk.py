"""A disk with Syslinux on a FAT file system, and its menu in graphics: its own, or gfxboot's from an archive."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

MODULES, MBR = Path("/usr/lib/syslinux/modules/bios"), Path("/usr/lib/syslinux/mbr/mbr.bin")
GFXBOOT = Path("/etc/bootsplash/themes/upstream/bootloader/message")    # of the Debian package gfxboot-themes
VESAMENU, GFXMENU = "vesamenu.c32", "gfxboot.c32"
SECTOR = 512
PARTITION_AT, PARTITION_BYTES = 2048, 16 << 20      # sectors, bytes
PARTITIONS, SIGNATURE = slice(446, 510), slice(510, 512)    # of the boot sector
HIDDEN = slice(0x1c, 0x20)                          # of a FAT's: sectors before it
FAT16, ACTIVE = 6, 0x80


def why_not() -> str:
    """"" where such a disk can be made; else what is missing."""
    there = MODULES.exists() and MBR.exists() and all(map(_command, ("syslinux", "mcopy", "mkfs.vfat")))
    return "" if there else ("no Syslinux, mtools or mkfs.vfat on this machine (the Debian packages syslinux, mtools "
                             "and dosfstools)")


def _command(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def make_disk(folder: Path, entries: dict[str, bytes], archive: Path | None = None) -> Path:
    """An image in `folder`.  `entries`: a menu's, each with its boot sector; the menu is gfxboot's from its `archive`,
    or Syslinux's own."""
    partition, disk = folder / "partition.img", folder / "disk.img"
    with partition.open("wb") as file:
        file.truncate(PARTITION_BYTES)
    _run("mkfs.vfat", "-F", "16", partition)
    _run("syslinux", "--install", partition)
    lines = [f"ui {GFXMENU} archive" if archive else f"ui {VESAMENU}", "prompt 1"]
    files = {name: MODULES / name for name in (GFXMENU, VESAMENU, "libcom32.c32", "libutil.c32")}
    if archive:
        files["archive"] = archive
    for i, (name, sector) in enumerate(entries.items()):
        files[f"e{i}.bs"] = folder / f"e{i}.bs"
        files[f"e{i}.bs"].write_bytes(sector.ljust(SECTOR - 2, b"\0") + b"\x55\xaa")
        lines += [f"label {name}", f"  kernel e{i}.bs"]
    files["syslinux.cfg"] = folder / "syslinux.cfg"
    files["syslinux.cfg"].write_text("\n".join([*lines, ""]))
    for name, path in files.items():
        _run("mcopy", "-i", partition, path, f"::{name}")
    disk.write_bytes(_with_boot_sector(bytearray(partition.read_bytes())))
    return disk


def _with_boot_sector(partition: bytearray) -> bytes:
    boot = bytearray(MBR.read_bytes().ljust(SECTOR, b"\0"))
    boot[PARTITIONS] = struct.pack("<B3xB3xII48x", ACTIVE, FAT16, PARTITION_AT, len(partition) // SECTOR)
    boot[SIGNATURE] = b"\x55\xaa"
    partition[HIDDEN] = struct.pack("<I", PARTITION_AT)
    return bytes(boot).ljust(SECTOR * PARTITION_AT, b"\0") + partition


def _run(name: str, *arguments: object) -> None:
    subprocess.run([_command(name) or name, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
