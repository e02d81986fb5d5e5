"""Linux, without KVM: what `make test-nested` builds boots in the emulator, and does its work."""

import os
import subprocess
import sys

import pytest

from tools.nested.files import DISK, boot
from vmm.paths import ROOT

pytest.importorskip("unicorn")

FILES = boot(os.environ.get("SPLITVMM_GUEST_KERNEL", "612"))
TIMEOUT_S = 280     # for hangs


@pytest.fixture(autouse=True)
def built():
    if not (FILES / "guest.img").exists() or not DISK.exists():
        pytest.skip(f"no {FILES.relative_to(ROOT)}; `make test-nested` builds it")


def linux(*arguments, append):
    done = subprocess.run([sys.executable, "-m", "vmm", "run", "--executor", "emulator", "--no-reboot", "--mem", "256M",
                           "--kernel", FILES / "vmlinuz", "--initrd", FILES / "guest.img", *map(str, arguments),
                           "--append", f"console=ttyS0 panic=-1 loglevel=4 {append}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT)
    assert done.returncode == 0 and "guest: done 0" in done.stdout, (done.stdout[-2000:], done.stderr[-2000:])
    assert "Call Trace" not in done.stdout, done.stdout       # of what its kernel warns of
    return done.stdout


def test_two_cpus(tmp_path):
    """To userspace and off again; each CPU is started by the other's APIC."""
    assert " cpus 2" in linux("--cpus", 2, append="")


@pytest.mark.parametrize("offload, transport", [("off", "pci"), ("host", "mmio")])
def test_a_disk(tmp_path, offload, transport):
    """An ext4 file system, by interrupts: an archive on it is unpacked, and every file as it should be."""
    image = tmp_path / "disk"
    image.write_bytes(DISK.read_bytes())
    text = linux("--disk", f"path={image},offload={offload},transport={transport}", append="job=disk")
    assert "guest: files " in text
