"""What KVM refuses to emulate, the emulator does."""

import pytest

from tests.executors.test_partial import LinesDevice
from vmm.kvm.vcpu import UnhandledExit
from vmm.machine.config import ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import all_counters
from vmm.paths import BUILD

SUM = 1 + 2 + 3 + 4 + 5     # of the status register, whose reads count


def machine(executor, device, cpus=1):
    config = MachineConfig(BUILD / "refused.elf", 16 << 20, cpus, serial="null", executor=executor)
    return Machine(config, ((device, "off"),))


def test_without_an_emulator_the_guest_ends(kvm):
    with machine(ExecutorConfig(), LinesDevice()) as made, pytest.raises(UnhandledExit, match="suberror 1"):
        made.run(20)


def test_the_emulator_does_it(kvm):
    """Registers of SSE go there and back; an exception of the instruction is KVM's to deliver."""
    device = LinesDevice()
    with machine(ExecutorConfig("auto", 0), device) as made:
        assert made.run(20) == SUM
        (counters,) = all_counters(made)["emulated"]
    assert device.accesses == ["read"] * 5
    assert counters["refused"]["instructions"] >= 6


def test_an_error_of_a_device(kvm):
    class Broken(LinesDevice):
        def on_read_status(self):
            raise ZeroDivisionError("as asked")
    with machine(ExecutorConfig("auto", 0), Broken()) as made, pytest.raises(ZeroDivisionError, match="as asked"):
        made.run(20)
