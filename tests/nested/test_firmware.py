"""A distribution's kernel, started as on a PC: SeaBIOS, GRUB from the disk, and its kernel by GRUB."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import grub_disk

SPLITVMM = Path(sys.executable).parent / "splitvmm"
TIMEOUT_S = 580
CONFIG = """
set timeout=0
menuentry "Linux" {
    linux /boot/vmlinuz console=ttyS0 loglevel=4 panic=-1 job=none
    initrd /boot/initrd.img
}
"""


@pytest.mark.skipif(bool(grub_disk.why_not()), reason=grub_disk.why_not())
@pytest.mark.parametrize("display", [[], ["--vga", "std"]], ids=["serial", "display"])
def test_linux_by_grub(linux, tmp_path, display):
    """It finds the disk that it was started from by ACPI and PCI, where SeaBIOS has put it, and powers off."""
    disk = grub_disk.make_disk(tmp_path, CONFIG, ("linux",), {"vmlinuz": linux / "vmlinuz",
                                                              "initrd.img": linux / "guest.img"}, 64 << 20)
    done = subprocess.run([SPLITVMM, "run", "--firmware", "seabios", *display, "--disk", disk, "--no-reboot"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=TIMEOUT_S)
    assert done.returncode == 0 and "guest: devices 1" in done.stdout, done.stdout + done.stderr
    assert "guest: done 0" in done.stdout
