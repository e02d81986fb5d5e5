"""What KVM refuses to emulate, the emulator does."""

import pytest

from tests.executors.test_partial import LinesDevice
from vmm.executors.instructions import decoded, done_otherwise
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


@pytest.mark.parametrize("code, says", [
    ("0f38036fad", "xmm0 and mxcsr overwritten"),       # phaddsw mm5, [rdi - 0x53]
    ("0f3803c1", ""), ("660f38036fad", ""),             # of two registers; of SSE
    ("66f30f584875", "the instruction with prefix 66"), ("f30f584875", ""),     # addss xmm1, [rax + 0x75]
    ("f0f718", "other flags"), ("f718", ""),            # lock neg [rax]
])
def test_what_unicorn_would_do_otherwise(code, says):
    """It is refused by name (vmm/executors/refused.py)."""
    assert done_otherwise(decoded(bytes.fromhex(code), 0, 2)) == says
