"""A vCPU of the emulator's alone: what wakes it, and when."""

import time

import pytest

pytest.importorskip("unicorn")

from vmm.devmodel.vcpu import Activity
from vmm.machine.config import ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import BUILD


@pytest.fixture
def halted():
    """One that waits for an interrupt; its thread is the test's."""
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=ExecutorConfig("emulator"))
    with Machine(config) as machine:
        (vcpu,) = machine.vcpus
        vcpu.state.activity = Activity.HALTED
        vcpu.advance()      # what has woken it so far
        yield vcpu


def test_woken_on_its_way(halted):
    """A kick that comes between the look at whether to go on and the wait: nobody says it again."""
    halted.wake()
    began = time.monotonic()
    halted.advance()
    assert time.monotonic() - began < 0.5


def test_woken_once(halted):
    halted.wake()
    halted.advance()
    began = time.monotonic()
    halted.advance()
    assert time.monotonic() - began > 0.5
