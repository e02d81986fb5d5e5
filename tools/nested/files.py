"""Where the nested machine's files are, and what is put into them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = ROOT / "build" / "nested"
QEMU = FILES / "qemu" / "run"       # starts the QEMU that was unpacked

DISK = FILES / "disk.img"           # an ext4 image with an archive on it

KERNELS = {     # name -> Debian release (None: the system's own), and how the version that it has begins
    "612": ("trixie", "6.12"),
    "61": (None, "6.1"),
    "newest": ("trixie-backports", ""),
}
L1_MODULES = ("9pnet_virtio", "9p", "overlay", "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "kvm_amd",
              "tun", "vhost_net", "ext4", "loop", "xfs")
GUEST_MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4",
                 "crc32c_generic", "crc32c_intel", "pvpanic-mmio", "altera_ps2")


def boot(kernel: str) -> Path:
    """The folder of one kernel: vmlinuz, vmlinux, version, l1.img, guest.img, guest-tools.img."""
    return FILES / kernel
