"""What is begun before a machine is there: taken by it, or closed."""

import os
import sys
import threading

import pytest

from vmm.errors import UserError
from vmm.machine import machine as machine_module
from vmm.machine.ahead import Ahead
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def config(tmp_path):
    image = tmp_path / "disk"
    image.write_bytes(bytes(4096))

    def made(mode, **more):
        return MachineConfig(memory=4 << 20, serial="null", disks=[DiskConfig(image, offload=mode)], **more)
    return made


@pytest.mark.parametrize("mode", ["off", "host", "on", "auto"])
def test_machine_takes_it(config, mode, kvm, bpf):
    Machine(config(mode)).close()       # what is opened once a process is
    before, switch_s = descriptors(), sys.getswitchinterval()
    with Ahead(config(mode)) as ahead, Machine(config(mode), ahead=ahead) as machine:
        assert ahead.ram({mode}) is None     # taken
        assert (machine.offloading.maps is None) == (mode in ("off", "host"))
        assert machine.devices[0].mode == ("on" if mode == "auto" else mode)
    assert descriptors() == before and sys.getswitchinterval() == switch_s


@pytest.mark.parametrize("mode", ["off", "on"])
def test_nobody_takes_it(config, mode, kvm, bpf):
    Machine(config(mode)).close()
    before = descriptors()
    with Ahead(config(mode)):
        pass
    assert descriptors() == before


def test_ram_for_other_devices_is_made_anew(config, kvm, bpf):
    with Ahead(config("off")) as ahead:
        assert ahead.ram({"on"}) is None


def test_what_fails_is_raised_where_it_is_taken(config):
    wrong = config("on")
    wrong.memory = 4095
    with Ahead(wrong) as ahead, pytest.raises(UserError, match="memory of 4095 bytes"):
        ahead.ram({"on"})


def test_nothing_is_begun_without_kvm(config):
    with Ahead(config("on", kvm=False)) as ahead:
        assert ahead.ram({"on"}) is None


def test_the_vm_is_found_by_the_process(config, kvm, bpf, monkeypatch):
    """debugfs has a folder for it, which is named by the thread that makes it (kvm_create_vm_debugfs())."""
    made, real = [], machine_module.Vm
    monkeypatch.setattr(machine_module, "Vm", lambda: made.append(threading.get_native_id()) or real())
    with Ahead(config("on")) as ahead, Machine(config("on"), ahead=ahead):
        assert made == [os.getpid()]
