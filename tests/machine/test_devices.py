"""Devices of one's own in a machine: each once, under a name of its own, and offload that says what it is."""

import logging
import subprocess

import pytest

from vmm.boot.ssdt import Announced
from vmm.device.register_device import RegisterDevice
from vmm.devices.probe import ProbeDevice
from vmm.devmodel.exit_path import Bus
from vmm.devmodel.schema import Device, reg, u32
from vmm.errors import UserError
from vmm.kvm.addresses import FIRST_PIN, VIRTIO_MMIO
from vmm.machine.building import announced
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.paths import ROOT


def config(**other):
    return MachineConfig(memory=1 << 20, serial="null", kvm=False, **other)


def test_two_of_one_name():
    with pytest.raises(UserError, match="probe: a second device of this name; wanted a name for each"):
        Machine(config(), ((ProbeDevice("probe"), "off"), (ProbeDevice("probe"), "host")))


def test_the_name_of_a_configured_one(image):
    with pytest.raises(UserError, match="disk0: a second device of this name"):
        Machine(config(disks=[DiskConfig(image)]), ((ProbeDevice("disk0"), "off"),))


def test_one_twice():
    device = ProbeDevice("probe")
    with pytest.raises(UserError, match="probe: added twice; wanted an object for each device"):
        Machine(config(), ((device, "off"), (device, "host")))


@pytest.mark.parametrize("content", [None, b"", b"no object", b"\x7fELF" + bytes(60)])
def test_auto_says_that_a_handler_does_not_load(tmp_path, caplog, content):
    device = ProbeDevice("probe")
    device.handlers = tmp_path
    if content is not None:
        (tmp_path / "probe.so").write_bytes(content)
    with caplog.at_level(logging.WARNING), Machine(config(), ((device, "auto"),)) as machine:
        assert device.mode == "off" and "host not possible" in machine.choices["probe"]
    assert [r.message for r in caplog.records if r.message.startswith("probe: offload host not possible: ")
            and str(tmp_path / "probe.so") in r.message]


@pytest.mark.parametrize("mode", ["host", "auto"])
def test_object_without_a_handler(tmp_path, mode, caplog):
    """Built from the right header, and DEVICE_HANDLER forgotten."""
    source = tmp_path / "probe.c"
    source.write_text(f'#include "{ROOT}/kernel_devices/ownership.h"\n'
                      f'#include "{ROOT}/kernel_devices/probe/probe.gen.h"\n'
                      "struct probe_state state;\n")
    subprocess.run(["cc", "-g", "-fPIC", "-shared", "-o", tmp_path / "probe.so", source], check=True)
    device = ProbeDevice("probe")
    device.handlers = tmp_path
    if mode == "auto":
        with Machine(config(), ((device, mode),)):
            assert device.mode == "off" and "DEVICE_HANDLER" in caplog.text
        return
    with pytest.raises(UserError, match="probe.so: .*wanted a shared object with a DEVICE_HANDLER"):
        Machine(config(), ((device, mode),))


def test_auto_is_quiet_about_what_the_machine_cannot(caplog):
    """Without vCPUs there is no `on`: that is no fault of the handler."""
    device = ProbeDevice("probe")
    with caplog.at_level(logging.WARNING), Machine(config(), ((device, "auto"),)):
        assert device.mode == "host"
    assert not caplog.records


class Named(Device, id=0, version=1, acpi="SVMM0001"):
    """A device."""
    value = reg(0, u32, "x")


class Compatible(Device, id=0, version=1, compatible="splitvmm,it"):
    """A device."""
    value = reg(0, u32, "x")


def device_of(schema: type, name: str) -> RegisterDevice:
    return type(schema.__name__ + "Device", (RegisterDevice,), {"schema": schema})(name)


def test_announced_are_those_with_a_name_in_memory(image):
    extra = (ProbeDevice("probe"), device_of(Named, "a"), device_of(Compatible, "b"))
    with Machine(config(disks=[DiskConfig(image)]), tuple((device, "off") for device in extra)) as machine:
        machine.add_device(device_of(Named, "port"), "off", 0x1000, Bus.PORT)
        machine.add_device(device_of(Named, "elsewhere"), "off", 0xd8000000)
        assert announced(machine.devices) == [
            Announced("SVMM0001", "", [(VIRTIO_MMIO + 0x2000, 0x1000)], FIRST_PIN + 2),
            Announced("", "splitvmm,it", [(VIRTIO_MMIO + 0x3000, 0x1000)], FIRST_PIN + 3),
            Announced("SVMM0001", "", [(0xd8000000, 0x1000)], FIRST_PIN + 5)]
