"""Devices of one's own under a distribution's kernel: found by ACPI, their addresses and interrupts known, and
driven: one from userspace, one by a driver of the kernel's."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.handlers import copy_example, make
from vmm.bench.guest import LinuxGuest
from vmm.paths import ROOT

PROGRAM = Path(__file__).parent / "register_devices.py"
DEVICES = "/sys/bus/platform/devices"


@pytest.fixture
def folder(tmp_path):
    """The example, built."""
    folder = copy_example(tmp_path / "adder")
    done = make(folder, "build/adder.bpf.o", "build/adder.so")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def guest(linux, bpf, folder, monkeypatch):
    """It powers off in the end."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(folder))))
    with LinuxGuest([sys.executable, str(PROGRAM), *map(str, (linux / "vmlinux", linux / "guest.img", "on",
                                                              folder / "report"))]) as running:
        yield running


def windows(guest) -> dict[str, int]:
    """Device -> its register page, by the kernel's account."""
    found = [re.fullmatch(r"(\w+)-(\w+) : (\w+:\d\d)", line) for line in guest.do("cat /proc/iomem")]
    pages = {line[3]: (int(line[1], 16), int(line[2], 16)) for line in found if line}
    assert all(last == first + 0xfff for first, last in pages.values())
    return {name: first for name, (first, _) in pages.items()}


def test_found_and_driven(guest, folder):
    names = ["SVMM0001:00", "SVMM0001:01", "PRP0001:00", "PRP0001:01"]
    pages = windows(guest)
    assert list(pages) == names and len(set(pages.values())) == 4
    said = guest.do(f"cd {DEVICES}; cat {' '.join(f'{name}/modalias {name}/firmware_node/uid' for name in names)}")
    assert said[:4] == ["acpi:SVMM0001:", "0", "acpi:SVMM0001:", "1"]
    assert [line.partition("T")[2] for line in said[4::2]] == ["Cvirtio,mmio", "CALTR,ps2-1.0"]
    add_from_userspace(guest, pages["SVMM0001:00"])
    # the driver came by itself, and read what is there
    assert any(line.endswith("virtio-mmio PRP0001:00: Wrong magic value 0x5eed1e55!") for line in guest.do("dmesg"))
    type_on(guest, "PRP0001:01")
    assert guest.do(f"! devmem {pages['PRP0001:01']:#x} 2>&1") == ["devmem: mmap: Operation not permitted"]
    guest.power_off()
    assert (folder / "report").read_text() == "1 1\n"


def add_from_userspace(guest, page: int) -> None:
    """By /dev/mem: a sum of the handler's, then one that it declines.  The other adder has none of it."""
    def registers(at):
        return [int(value, 16) for n in (8, 12) for value in guest.do(f"devmem {at + n:#x} 32")]
    guest.do(f"devmem {page:#x} 32 40; devmem {page + 4:#x} 32 2")
    assert registers(page) == [42, 0]
    guest.do(f"devmem {page + 4:#x} 32 0xffffffff")
    assert registers(page) == [39, 1]
    assert registers(page + 0x1000) == [0, 0]


def type_on(guest, name: str) -> None:
    """A driver that Debian's kernel has only a platform device's name for, so that it has to be told.  Each of
    the keyboard's answers came with an interrupt: without, the kernel would have given up on it."""
    guest.do(f"echo altera_ps2 > {DEVICES}/{name}/driver_override")
    guest.do(f"echo {name} > /sys/bus/platform/drivers/altera_ps2/bind")
    # serio looks for what is at a new port on a thread of its own
    wait = "for i in $(seq 100); do grep -q keyboard /proc/bus/input/devices && break; sleep 0.1; done"
    said = guest.do(f"{wait}; cat /proc/bus/input/devices")
    assert "I: Bus=0011 Vendor=0001 Product=0002 Version=ab83" in said and f"P: Phys={name}/input0" in said
    line = "".join(guest.do(f"grep {name} /proc/interrupts"))
    found = re.fullmatch(r"\d+: +(\d+) +IO-APIC +8-edge +\S+", line)
    assert found and int(found[1]) >= 5, line
