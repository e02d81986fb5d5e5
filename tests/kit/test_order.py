"""What one instruction of a guest's writes reaches the device in order, whole, and once, whoever serves it."""

import os
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmm import RegisterDevice
from vmm.devmodel.exit_path import Bus
from vmm.devmodel.schema import POSTED, W1C, Device, reg, u32
from vmm.machine.config import DeviceConfig, MachineConfig
from vmm.paths import ROOT
from vmm.testing import driven, machine_without_vcpus
from vmm.testing.played_vm import PIO_OUT, values


@pytest.fixture
def driver(order, mode):
    with ExitStack() as stack:
        yield stack.enter_context(driven(order.OrderDevice("order"), mode))


def test_a_reason_is_no_more_than_one(order, driver):
    """Also those that mean something of a queue: RING_ASLEEP, BUDGET."""
    for reason in range(1, order.OrderDevice("x").layout.reasons.ALWAYS):
        assert driver.write("kick", reason) == 0 and driver.read("count") == reason


def test_the_last_offset_there_can_be(driver):
    assert driver.write("far", 0x1234) == 0
    assert driver.read("seen") == 0x1234 and driver.interrupts == 0


def test_halves_interrupt_each(driver):
    for offset, width, interrupts in ((0, 4, 0), (4, 4, 1), (0, 8, 2)):
        driver.write_at(offset, width, 1)
        assert driver.interrupts == interrupts


@pytest.mark.parametrize("sse", [False, True], ids=["integers", "sse"])
def test_guest(order, mode, kvm, sse, request):
    if mode == "on":
        request.getfixturevalue("bpf")
    path = Path(order.__file__)
    done = subprocess.run(
        [sys.executable, "-m", "vmm", "-q", "run", "--mem", "32M", "--device", f"{path},offload={mode}",
         str(path.parent / "build" / "guest.elf"), "--cmdline", f"sse={int(sse)}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ)
    kicks = order.OrderDevice("x").layout.reasons.ALWAYS
    wanted = [("snap", 1), ("count", 1), ("count", kicks), ("far", 0x1234)]
    if sse:
        wanted += [("base", 0x1111), ("seen", 0x2222), ("seen", 0x3333), ("seen", 0x3333), ("count", kicks + 1)]
    assert (done.returncode, done.stdout.split(), done.stderr) == (
        0, [f"{name}{value:016x}" for name, value in wanted], "")


class Flags(Device, id=0, version=1):
    """No specification but this file."""

    flags = reg(0, u32, "ones clear", access=W1C, takes=POSTED, reset=0xffffffff)
    mine = reg(4, u32, "userspace's")


class FlagsDevice(RegisterDevice):
    schema = Flags


def test_a_string_out_to_what_ones_clear(bpf_run):
    """KVM traces all of it at once: each element clears its own bits."""
    config = MachineConfig(memory=1 << 20, serial="null", kvm=False, devices=[DeviceConfig(
        lambda: FlagsDevice("flags"), offload="on", bus="port", base=0x300)])
    with machine_without_vcpus(config) as machine:
        machine.guest_write(Bus.PORT, 0x304, 4, 1)          # this thread is a vCPU from here on
        data = values().put(struct.pack("<II", 1, 2))
        for program in list(machine.vm.attached):
            program.run("on_pio", PIO_OUT, 0x300, 4, 2, data)
        machine.guest_write(Bus.PORT, 0x304, 4, 2)          # which finds what has gone up
        assert machine.devices[0].page.flags == 0xfffffffc and machine.devices[0].page.mine == 2
