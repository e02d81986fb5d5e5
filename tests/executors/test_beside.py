"""An emulator beside KVM that is given the whole state: what KVM refuses, and hand-overs at any instruction."""

import random
import time
import zlib
from types import SimpleNamespace

import pytest

from tests.executors.test_partial import LinesDevice
from tests.guest.test_guests import UNTIL, adler_in, expected_area, run
from tests.scale import scaled
from vmm.executors.beside import Refusals
from vmm.executors.features import Features
from vmm.executors.instructions import decoded, done_otherwise
from vmm.kvm.vcpu import UnhandledExit
from vmm.machine.config import DiskConfig, ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.machine.stats import all_counters
from vmm.paths import BUILD

SUM = 1 + 2 + 3 + 4 + 5     # of the status register, whose reads count


def machine(executor, device, cpus=1):
    config = MachineConfig(BUILD / "refused.elf", 16 << 20, cpus, serial="null", executor=executor)
    return Machine(config, ((device, "off"),))


def test_without_an_emulator_the_guest_ends(kvm):
    with machine(ExecutorConfig(), LinesDevice()) as made, pytest.raises(
            UnhandledExit, match="(?s)suberror 1.*an emulator may .--executor auto"):
        made.run(20)


def test_the_emulator_does_it(kvm):
    """Registers of SSE go there and back; an exception of the instruction is KVM's to deliver."""
    device = LinesDevice()
    with machine(ExecutorConfig("auto", 0), device) as made:
        assert made.run(20) == SUM
        (counters,) = all_counters(made)["emulated"]
    assert device.accesses == ["read"] * 5
    assert counters["whole"]["instructions"] >= 5


def test_emulators_are_made_when_they_are_needed(kvm):
    with machine(ExecutorConfig("auto", 0), LinesDevice()) as made:
        (beside,) = made.beside
        assert beside.made == []
        assert made.run(20) == SUM
        assert beside.made == [beside.one]


@pytest.mark.parametrize("executor", ["auto", "emulator"])
def test_what_a_cpu_has_not(kvm, executor):
    """It raises #UD there; a hint on caches is done by doing nothing."""
    config = MachineConfig(BUILD / "lacked.elf", 16 << 20, serial="null", executor=ExecutorConfig(executor))
    with Machine(config) as made:
        assert made.run(20) == 0


def cpuid(function, **words):
    return SimpleNamespace(**{"function": function, "index": 0, "ebx": 0, "ecx": 0} | words)


@pytest.mark.parametrize("code, cr4, entries, lacked", [
    ("0f01d0", 0, [cpuid(1, ecx=1 << 26)], True), ("0f01d0", 1 << 18, [cpuid(1, ecx=1 << 26)], False),   # xgetbv
    ("0f01d0", 1 << 18, [], True),
    ("660f388201", 0, [cpuid(7, ebx=1 << 10)], False), ("660f388201", 0, [cpuid(7)], True),     # invpcid rax, [rcx]
    ("0f01fd", 0, [cpuid(0x80000008, ebx=1 << 4)], False), ("0f01fd", 0, [], True),             # rdpru
    ("0fa2", 0, [], False), ("0f0a", 0, [], False),                                             # cpuid; none at all
])
def test_features(code, cr4, entries, lacked):
    code = bytes.fromhex(code)
    assert Features(entries).lack(code, decoded(code, 0, 2), cr4) == lacked


def test_an_error_of_a_device(kvm):
    class Broken(LinesDevice):
        def on_read_status(self):
            raise ZeroDivisionError("as asked")
    with machine(ExecutorConfig("auto", 0), Broken()) as made, pytest.raises(ZeroDivisionError, match="as asked"):
        made.run(20)


def test_refusals_at_however_many_places():
    """What a guest makes KVM refuse takes no more room than this; nothing is lost from the sum."""
    refusals = Refusals(4)
    for i in range(1000):
        refusals.add(i)
        refusals.add(0x1000)
    counters = refusals.counters()
    assert counters["instructions"] == 2000 and counters["places"] <= 8
    assert refusals.at[0x1000] == 1000 and counters["others"] == 2000 - refusals.at.total()


@pytest.mark.parametrize("code, says", [
    ("0f38036fad", "xmm0 and mxcsr overwritten"),       # phaddsw mm5, [rdi - 0x53]
    ("0f3803c1", ""), ("660f38036fad", ""),             # of two registers; of SSE
    ("66f30f584875", "the instruction with prefix 66"), ("f30f584875", ""),     # addss xmm1, [rax + 0x75]
    ("f0f718", "other flags"), ("f718", ""),            # lock neg [rax]
])
def test_what_unicorn_would_do_otherwise(code, says):
    """It is refused by name (vmm/executors/beside.py)."""
    assert done_otherwise(decoded(bytes.fromhex(code), 0, 2)) == says


def handing_over(machine, wanted, done):
    """Has random vCPUs run on in the emulator, again and again, until so many hand-overs are done."""
    rng = random.Random(wanted)

    def visits():
        return sum(each.visits for each in machine.beside)
    while visits() < wanted and machine.status is None:
        machine.emulate(rng.randrange(len(machine.beside)), rng.randrange(1, 60))
        time.sleep(rng.random() / 500)
    done.append((visits(), sum(each.ran for each in machine.beside)))
    machine.memory.write(UNTIL, b"\1\0\0\0")


@pytest.mark.parametrize("cpus", [1, 2])
def test_at_any_instruction_and_back(kvm, tmp_path, mode, image, cpus):
    """A busy guest, whose devices are where they are; what it reads and writes is as it must be."""
    done, wanted = [], scaled(200)

    def during(machine):
        handing_over(machine, wanted, done)
    guest, words = ("check.elf", "rounds=100") if cpus == 1 else ("twocpus.elf", f"requests=100 until={UNTIL:#x}")
    status, text, _ = run(tmp_path, guest, [DiskConfig(image, offload=mode, queues=2)], words, cpus=cpus,
                          executor=ExecutorConfig("auto", 0), during=during)
    assert status == 0 and "passed" in text, text
    if cpus == 1:
        assert image.read_bytes() == expected_area(4096)
        assert adler_in(text) == [zlib.adler32(image.read_bytes())]
    ((visits, ran),) = done
    assert visits > min(10, wanted / 2) and (ran or wanted < 100)       # from some places nothing is to be run


def endless(executor, device):
    """A guest that polls a register for hours."""
    config = MachineConfig(BUILD / "trips.elf", 16 << 20, serial="null", executor=executor,
                           cmdline=f"dance=polling count={1 << 30} base=0xd0000000")
    return Machine(config, ((device, "off"),))


def test_a_pause_while_an_emulator_runs_it(kvm):
    """However many blocks it was told."""
    device = LinesDevice()
    with endless(ExecutorConfig("auto", 0), device) as made:
        made.start()
        while made.threads[0].exits < 100:
            time.sleep(0.01)
        made.emulate(0, 1 << 60)
        while len(device.accesses) < made.threads[0].exits + 1000:      # the emulator has it
            time.sleep(0.01)
        began = time.monotonic()
        with made.paused():
            assert made.beside[0].visits == 1
        assert time.monotonic() - began < 5
        made.emulate(0, 1 << 60)
        made.stop(3)
        assert made.wait(5) == 3


@pytest.mark.parametrize("executor", [ExecutorConfig(), ExecutorConfig("auto", 1 << 20), ExecutorConfig("auto"),
                                      ExecutorConfig("emulator")], ids=["kvm", "auto-blocks", "auto", "emulator"])
def test_a_device_that_ends_the_guest(kvm, executor):
    """The guest does not go on behind the access."""
    class Last(LinesDevice):
        def on_read_status(self):
            if len(self.accesses) == 500:
                made.stop(3)
            return super().on_read_status()
    device = Last()
    with endless(executor, device) as made:
        assert made.run(20) == 3
    assert len(device.accesses) == 501


def between(waiting):
    """What a machine does when KVM_RUN was interrupted, by both of what there may be, in order."""
    done = []
    vcpu = SimpleNamespace(index=0, loop=SimpleNamespace(waiting=waiting))
    host = SimpleNamespace(beside=[SimpleNamespace(run_asked=lambda: done.append("emulated"))],
                           bpf=SimpleNamespace(declined=lambda index: ["declined"]), hand_over=done.append,
                           running=SimpleNamespace(kick=lambda index: done.append("again")))
    Machine.declined(host, vcpu)
    return done


def test_declined_writes_come_before_what_is_asked_of_an_emulator():
    assert between(waiting=0) == ["declined", "emulated"]


def test_nothing_is_emulated_before_an_exit_that_waits():
    """KVM is not to be entered before that is answered."""
    assert between(waiting=1) == ["declined", "again"]
