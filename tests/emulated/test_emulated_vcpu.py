"""A vCPU of the emulator's alone: what wakes it, and when."""

import struct
import threading
import time

import pytest

pytest.importorskip("unicorn")

import vmm.emulated.vcpu as emulated
from tests.emulated.bare import bare
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


COUNT = 2**31 - 1
LOOP = b"\xb9" + struct.pack("<I", COUNT) + b"\xff\xc9\x75\xfc"     # mov ecx, COUNT; again: dec ecx; jnz again


@pytest.mark.parametrize("blocks", [1, 2, 1023, 1024, 1025, 1026, 5000])
def test_as_many_blocks_as_it_was_told(blocks, monkeypatch):
    """Also where they are not looked at one by one."""
    monkeypatch.setattr(emulated, "SLICE", blocks)
    with bare() as made:
        made.start(LOOP, long=True)
        for times in (1, 2, 3):
            made.vcpu.advance()
            assert made.state.general.rcx == COUNT - times * blocks


def test_asked_while_blocks_are_not_looked_at(monkeypatch):
    """It would run for minutes."""
    monkeypatch.setattr(emulated, "SLICE", 2**62)
    with bare() as made:
        made.start(LOOP, long=True)
        asking = threading.Timer(0.1, made.vcpu.wake)
        asking.start()
        made.vcpu.advance()
        asking.join()
        assert 0 < made.state.general.rcx < COUNT
