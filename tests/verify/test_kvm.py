"""The checker with a guest under KVM: what it adds to a machine without vCPUs is found there and nowhere else."""

import os
from pathlib import Path

import pytest

from tests.scale import scaled
from vmm.cli.main import main
from vmm.devices.probe import ProbeDevice
from vmm.devmodel.exit_path import Bus
from vmm.errors import UserError
from vmm.kvm.addresses import COM1, PCI_ADDRESS, PCI_DATA
from vmm.kvm.vm import KvmError, Vm
from vmm.machine.config import DeviceConfig, MachineConfig
from vmm.pci.pci import HOST_BRIDGE
from vmm.testing.driven_machine import DrivenMachine
from vmm.testing.driver import Registers
from vmm.verify import verify
from vmm.verify.lockstep import Lockstep
from vmm.verify.source import Seeded
from vmm.verify.steps import load
from vmm.verify.strategies import ours
from vmm.verify.strategy import strategy_of

CASES = {"blk": {"transport": "mmio", "rings": "split", "async": "on", "disk": "sound"},
         "net": {"transport": "pci", "rings": "split"},
         "console": {"transport": "mmio", "rings": "packed"},
         "rng": {"transport": "pci", "rings": "packed"}}


@pytest.fixture(params=["off", "host", "on"])
def executor(request, kvm):
    """One under KVM."""
    if request.param == "on":
        request.getfixturevalue("bpf")
    return f"{request.param}-kvm"


@pytest.fixture
def adder(module):
    return strategy_of(module("adder").AdderDevice)


@pytest.mark.parametrize("name, setting", CASES.items(), ids=CASES)
def test_ours_are_in_step(ring, executor, name, setting):
    result = verify(ours()[name](), ["off", executor], None, scaled(400), 1, **setting)
    assert bool(result.handled[executor]) == (executor != "off-kvm")


def test_a_register_device_is_in_step(executor, adder):
    assert bool(verify(adder, ["off", executor], None, scaled(400), 2).handled[executor]) == (executor != "off-kvm")


# faults of what only KVM has

CLAIM = Vm.ioeventfd


def claim_elsewhere(vm, bus, address, width, fd, on):
    CLAIM(vm, bus, address + 0x100 * (bus is Bus.MMIO), width, fd, on)


def claim_half(vm, bus, address, width, fd, on):
    CLAIM(vm, bus, address, width // 2 if bus is Bus.MMIO else width, fd, on)


def first_difference(strategy, *executors, **setting):
    source = Seeded(4)
    with Lockstep(strategy, executors, setting) as lockstep:
        return next(filter(None, (lockstep.do(lockstep.next(source)) for _ in range(200))), None)


@pytest.mark.parametrize("broken", [claim_elsewhere, claim_half])
def test_a_wrong_claim_is_found(bpf, adder, monkeypatch, broken):
    monkeypatch.setattr(Vm, "ioeventfd", broken)
    assert first_difference(adder, "host", "on") is None
    assert "an exit to Python; wanted none, as it is claimed" in first_difference(adder, "on-kvm").found


@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_an_interrupt_that_is_not_delivered_is_found(bpf, monkeypatch, transport):
    monkeypatch.setattr(Vm, "irqfd", lambda vm, fd, gsi, on: None)
    rng, setting = ours()["rng"](), {"transport": transport, "rings": "split"}
    assert first_difference(rng, "host", "on", **setting) is None
    assert "is missing with on-kvm" in str(first_difference(rng, "on-kvm", **setting))


# the machine

@pytest.fixture
def driven(kvm):
    devices = [DeviceConfig(lambda: ProbeDevice("probe"), offload="off")]
    with DrivenMachine(MachineConfig(memory=2 << 20, serial="null", devices=devices)) as machine:
        yield machine


def test_the_guest_is_nowhere_in_memory(driven):
    assert Registers(driven, driven.devices[0]).interrupts == 0
    assert bytes(driven.memory.view) == bytes(2 << 20)


def test_accesses_of_ports_and_of_every_width(driven):
    driven.guest_write(Bus.PORT, COM1 + 7, 1, 0x5a)
    assert driven.guest_read(Bus.PORT, COM1 + 7, 1) == 0x5a
    driven.guest_write(Bus.PORT, PCI_ADDRESS, 4, 1 << 31)       # vendor and device of the host bridge
    whole = driven.guest_read(Bus.PORT, PCI_DATA, 4)
    assert [driven.guest_read(Bus.PORT, PCI_DATA, width) for width in (1, 2)] == [whole & 0xff, whole & 0xffff]
    assert whole == HOST_BRIDGE[1] << 16 | HOST_BRIDGE[0]
    for width in (1, 2, 4, 8):
        driven.guest_write(Bus.MMIO, 0x1000, width, 0x1122334455667788)
        mask = (1 << 8 * width) - 1
        assert driven.guest_read(Bus.MMIO, 0x1000, width) == 0x1122334455667788 & mask
        assert driven.memory.read(0x1000, 8) == (0x1122334455667788 & mask).to_bytes(8, "little")
        driven.memory.write(0x1000, bytes(8))


def test_a_guest_that_is_gone_is_told(driven):
    driven.stop(7)
    driven.wait(20)
    with pytest.raises(UserError, match="the driver guest: no answer, status 7; wanted one"):
        driven.guest_read(Bus.PORT, COM1, 1)


# the command

def test_the_command(kvm, capsys):
    assert main(["verify", "rng", "--kvm", "--steps", "2", "--seed", "1", "--modes", "off,host",
                 "--rings", "split"]) == 0
    said = capsys.readouterr().out
    assert "off-kvm: the kernel half did 0" in said and "host-kvm: the kernel half did" in said


def test_a_difference_is_told_saved_and_played_again(bpf, module, tmp_path, capsys, monkeypatch):
    module("adder")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Vm, "ioeventfd", claim_elsewhere)
        assert main(["verify", "adder/adder.py", "--kvm", "--modes", "on", "--steps", "400", "--seed", "1"]) == 1
        assert "with on-kvm; wanted" in capsys.readouterr().out
        assert load(Path("adder.sequence.json")).executors == ["off", "on-kvm"]
        assert main(["verify", "adder/adder.py", "--replay", "adder.sequence.json"]) == 1
    assert main(["verify", "adder/adder.py", "--replay", "adder.sequence.json"]) == 0


def test_without_kvm_it_says_so(monkeypatch, capsys):
    def missing():
        raise KvmError("/dev/kvm: not there")
    monkeypatch.setattr("vmm.kvm.vm.open_kvm", missing)
    assert main(["verify", "rng", "--kvm", "--steps", "1", "--modes", "off"]) == os.EX_USAGE
    assert "/dev/kvm: not there" in capsys.readouterr().err


def test_it_is_neither_compared_with_qemu_nor_replayed(capsys):
    for option in (["--against", "qemu"], ["--replay", "file"]):
        assert main(["verify", "rng", "--kvm", *option]) == os.EX_USAGE
        assert f"--kvm and {option[0]}; wanted one of them" in capsys.readouterr().err
