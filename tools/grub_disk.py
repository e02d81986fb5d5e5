"""A disk with GRUB, as an installation has one: a boot sector, GRUB's core behind it, modules in a file system."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

MODULES = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
PARTITION_AT, PARTITION_BYTES = 2048, 32 << 20      # sectors, bytes
PARTITIONS = slice(446, 510)                        # of the boot sector
LINUX, ACTIVE = 0x83, 0x80
CORE_MODULES = ("biosdisk", "part_msdos", "ext2")


def why_not() -> str:
    """"" where such a disk can be made; else what is missing."""
    there = (MODULES / "boot.img").exists() and shutil.which("grub-mkimage") and _mke2fs()
    return "" if there else "no GRUB or no mke2fs on this machine (the Debian packages grub-pc-bin and e2fsprogs)"


def _mke2fs() -> str | None:
    return shutil.which("mke2fs") or shutil.which("mke2fs", path="/usr/sbin:/sbin")


def make_disk(folder: Path, config: str, modules: tuple[str, ...], files: dict[str, Path] | None = None,
              partition_bytes: int = PARTITION_BYTES) -> Path:
    """An image in `folder`.  `config` is grub.cfg, `modules` those that it needs beside those that it needs always;
    `files` are put into /boot."""
    root, core, partition, disk = (folder / name for name in ("root", "core.img", "partition.img", "disk.img"))
    there = root / "boot" / "grub" / "i386-pc"
    there.mkdir(parents=True)
    for name in _with_what_they_need(("normal", *modules)):
        shutil.copy(MODULES / f"{name}.mod", there)
    for name in ("moddep.lst", "command.lst", "fs.lst", "terminal.lst", "crypto.lst"):
        shutil.copy(MODULES / name, there)
    (root / "boot" / "grub" / "grub.cfg").write_text(config)
    for name, path in (files or {}).items():
        shutil.copy(path, root / "boot" / name)
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", *CORE_MODULES],
                   check=True)
    with partition.open("wb") as file:
        file.truncate(partition_bytes)
    subprocess.run([_mke2fs() or "mke2fs", "-q", "-t", "ext2", "-d", root, partition], check=True,
                   stderr=subprocess.DEVNULL)
    boot = bytearray((MODULES / "boot.img").read_bytes())
    boot[PARTITIONS] = struct.pack("<B3xB3xII48x", ACTIVE, LINUX, PARTITION_AT, partition_bytes // SECTOR)
    head = bytes(boot) + core.read_bytes()
    disk.write_bytes(head.ljust(SECTOR * PARTITION_AT, b"\0") + partition.read_bytes())
    return disk


def _with_what_they_need(names: tuple[str, ...]) -> set[str]:
    """Modules, and those that moddep.lst says that they need."""
    lines = (line.split(":") for line in (MODULES / "moddep.lst").read_text().splitlines())
    needs = {name: after.split() for name, after in lines}
    found, waiting = set(), list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += needs[name]
    return found
