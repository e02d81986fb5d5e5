"""Multiboot kernels that the C compiler builds, run: where they lie, what they are given, and the test ports."""

import subprocess
from pathlib import Path

import pytest

from vmm.boot.loading import BootError
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine

SOURCE = Path(__file__).parent / "multiboot.S"
GOOD = 3 << 1 | 1
HAS_ADDRESSES = 1 << 16


def build(folder, at, flags=0, flat=False):
    """A kernel to be loaded at `at`: a 32-bit ELF, or its bytes alone."""
    path = folder / "kernel"
    subprocess.run(["cc", "-m32", "-nostdlib", "-static", "-no-pie", f"-DFLAGS={flags:#x}", f"-Wl,-Ttext={at:#x}",
                    "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments", "-Wl,-N", "-o", path,
                    SOURCE], check=True)
    if flat:
        subprocess.run(["objcopy", "-O", "binary", path], check=True)
    return path


def run(folder, kernel, **more):
    out = folder / "serial"
    with Machine(MachineConfig(kernel, 8 << 20, serial=f"file={out}", machine_ports="test", **more)) as machine:
        return machine.run(60), out.read_text().splitlines()


@pytest.mark.parametrize("at, flags, flat", [
    (0x100000, 3, False), (0x8000, 0, False), (0x8000, HAS_ADDRESSES, False), (0x100000, HAS_ADDRESSES, True)],
    ids=["ELF", "ELF in low memory", "ELF with addresses", "flat"])
def test_kernels(tmp_path, kvm, at, flags, flat):
    modules = [tmp_path / "one", tmp_path / "two"]
    for path in modules:
        path.write_text(f"contents of {path.name}\0")
    assert run(tmp_path, build(tmp_path, at, flags, flat), cmdline="a=1", modules=modules) == (
        GOOD, ["kernel a=1", "one", "contents of one", "two", "contents of two"])


def test_an_initrd_is_a_module(tmp_path, kvm):
    initrd = tmp_path / "initrd"
    initrd.write_text("it\0")
    assert run(tmp_path, build(tmp_path, 0x100000), initrd=initrd) == (GOOD, ["kernel", "initrd", "it"])


def test_a_kernel_over_firmware(tmp_path, kvm):
    with pytest.raises(BootError, match="not over firmware's tables"):
        run(tmp_path, build(tmp_path, 0xe8000))
