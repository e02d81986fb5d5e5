"""Partial emulation: a guest does the same with it as without, in each mode of its devices."""

import zlib

import pytest

from tests.guest.test_guests import adler_in, expected_area, run
from vmm.devices.probe import ProbeLinesDevice
from vmm.machine.config import DiskConfig, ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD

pytest.importorskip("unicorn")
pytest.importorskip("capstone")

DANCES = {"writes": 40, "polling": 4, "string": 2, "bits": 2}
BLOCKS = [1, 3, 64, None]


class LinesDevice(ProbeLinesDevice):
    """Remembers the accesses."""

    def __init__(self):
        super().__init__("lines")
        self.accesses = []

    def on_read_status(self):
        self.accesses.append("read")
        return len(self.accesses)

    def write(self, offset, width, value):
        self.accesses.append((offset, width, value))
        super().write(offset, width, value)


def danced(tmp_path, dance, executor):
    """What the guest printed but for times, what the device saw, and the counters of the partial emulation."""
    device, output = LinesDevice(), tmp_path / "serial"
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial=f"file={output}", executor=executor,
                           cmdline=f"dance={dance} count={DANCES[dance]} base=0xd0000000 port=0x80")
    with Machine(config, ((device, "off"),)) as machine:
        status = machine.run(60)
        exits = sum(thread.exits for thread in machine.threads)
        counters = machine.partial[0].counters() if machine.partial else {}
    return (status, output.read_text().partition("ticks")[0], device.accesses), exits, counters


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("dance", DANCES)
def test_a_driver_that_dances(kvm, tmp_path, dance, blocks):
    """The device is told the same accesses in the same order, however few of them exit."""
    plain, exits, _ = danced(tmp_path, dance, ExecutorConfig())
    emulated, fewer, counters = danced(tmp_path, dance, ExecutorConfig("auto", blocks))
    assert emulated == plain
    if blocks != 1:     # a loop of one access takes as many blocks
        assert counters["spared"] > exits / 2 > fewer


@pytest.mark.parametrize("blocks", [2, 50, None])
def test_check(kvm, tmp_path, mode, image, blocks):
    """Every request, cut in every way, with interrupts, and with devices in the kernel half."""
    status, text, _ = run(tmp_path, "check.elf", [DiskConfig(image, offload=mode, queues=3)], "rounds=3",
                          executor=ExecutorConfig("auto", blocks))
    assert status == 0 and "passed" in text, text
    assert image.read_bytes() == expected_area(4096)
    assert adler_in(text) == [zlib.adler32(image.read_bytes())]


def test_two_vcpus(kvm, tmp_path, mode, image):
    """Each with an emulator of its own; neither runs the other's atomic instructions."""
    status, text, _ = run(tmp_path, "smp.elf", [DiskConfig(image, offload=mode, queues=2)], "rounds=200", cpus=2,
                          executor=ExecutorConfig("auto", 20))
    assert status == 0, text


def test_an_error_of_a_device_ends_the_machine(kvm, tmp_path):
    class Broken(LinesDevice):
        def on_read_status(self):
            if len(self.accesses) == 20:
                raise ZeroDivisionError("as asked")
            return super().on_read_status()
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=ExecutorConfig("auto", 1000),
                           cmdline="dance=polling count=100 base=0xd0000000")
    device = Broken()
    with Machine(config, ((device, "off"),)) as machine, pytest.raises(ZeroDivisionError, match="as asked"):
        machine.run(60)
    assert len(device.accesses) < 100       # and the guest did not go on for long


def test_without_blocks_there_is_no_emulator(kvm, tmp_path):
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=ExecutorConfig("auto", 0),
                           cmdline="dance=polling count=1 base=0xd0000000")
    with Machine(config, ((LinesDevice(), "off"),)) as machine:
        assert machine.run(60) == 0 and not machine.partial
