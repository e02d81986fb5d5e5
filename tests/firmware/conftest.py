"""What tests of a BIOS need, and disks whose boot sectors they write in assembly."""

import subprocess
from pathlib import Path

import pytest

from vmm.firmware import rom
from vmm.machine.config import DiskConfig, MachineConfig

SECTOR = 512
HEAD = """
    .code16
    .org 0
    ljmp $0, $0x7c00 + start - .Lsector
start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    cld
"""
EXIT = """
exit:               # with status %al
    mov $0x501, %dx
    out %al, %dx
    hlt
"""


@pytest.fixture(scope="session")
def seabios(kvm) -> Path:
    """SeaBIOS's ROM."""
    if not rom.NAMED["seabios"].exists():
        pytest.skip("no SeaBIOS on this machine (the Debian package seabios)")
    return rom.NAMED["seabios"]


@pytest.fixture
def boot_disk(tmp_path):
    """boot_disk(source, sectors): an image of these sectors, each with its number all over it, but for the boot sector:
    `source`, 16-bit code in GNU syntax, between HEAD and EXIT.  SeaBIOS wants a cylinder (1008 sectors) at least."""
    def make(source: str, sectors: int = 2048) -> Path:
        text, code, image = tmp_path / "boot.s", tmp_path / "boot.o", tmp_path / "disk.img"
        text.write_text(f".Lsector:{HEAD}{source}{EXIT}.org 510\n.word 0xaa55\n")
        subprocess.run(["as", "--32", "-o", code, text], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "0", "-o", image,
                        code], check=True)
        boot = image.read_bytes()
        assert len(boot) == SECTOR
        image.write_bytes(boot + b"".join(i.to_bytes(8, "little") * (SECTOR // 8) for i in range(1, sectors)))
        return image
    return make


@pytest.fixture
def bios_machine(seabios):
    """bios_machine(image, **config): what boots an image."""
    def make(image: Path, offload: str = "off", **config) -> MachineConfig:
        return MachineConfig(firmware=seabios, disks=[DiskConfig(image, offload=offload, transport="pci")],
                             memory=32 << 20, **{"serial": "null", **config})
    return make
