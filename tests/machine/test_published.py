"""What a machine tells of itself, read from its own process: as long as it lives, and as it is now."""

import os

import pytest
from rich.console import Console

from vmm.devices.probe import ProbeDevice
from vmm.devmodel import layout_device
from vmm.devmodel.devices.blk import Blk
from vmm.devmodel.devices.probe import Probe
from vmm.devmodel.exit_path import DEVICES, VCPUS, Bus
from vmm.devmodel.layout import MAX_REASONS
from vmm.devmodel.view import address_of
from vmm.machine.config import DiskConfig, ExecutorConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.sync.directory import LONGEST, ROOM, Directory
from vmm.top import listing, process, sample
from vmm.top.table import tables
from vmm.top.watch import Watch

ME = os.getpid()


def told():
    return [listing.listed(ME, at) for at in process.directories(ME)]


def config(**other):
    return MachineConfig(memory=1 << 20, serial="null", **other)


def test_devices_and_modes(kvm, image):
    with Machine(config(disks=[DiskConfig(image, offload="host", queues=4)], cpus=2)) as machine:
        vm, = told()
        disk, = vm.devices
        assert (disk.name, disk.schema, disk.version, disk.offload, disk.queues) == ("disk0", "blk", 1, "host", 4)
        assert disk.state == address_of(machine.devices[0].state) and disk.uring == machine.devices[0].place.urings
        assert disk.reasons == tuple(reason.name.lower() for reason in layout_device(Blk).reasons)
        assert len(vm.vcpus) == 2 and all(vm.vcpus)
        machine.set_offload(machine.devices[0], "off")
        machine.add_device(ProbeDevice("late"), "host")
        now, = told()
        assert [(device.name, device.offload) for device in now.devices] == [("disk0", "off"), ("late", "host")]
        assert now.key == vm.key and now.header != vm.header
    assert not told()


def test_rates_go_on_where_a_mode_changes(kvm, image):
    """What was said before is no more taken for what is."""
    with Machine(config(disks=[DiskConfig(image, offload="host")])) as machine:
        watch, (vm,) = Watch(ME), told()
        assert watch.look()["vms"][0]["devices"][0]["total"]["rates"] is None and sample.take(vm)
        machine.set_offload(machine.devices[0], "off")
        assert sample.take(vm) is None
        device, = watch.look()["vms"][0]["devices"]
        assert device["offload"] == "off" and device["total"]["rates"]["handled"] == 0


def test_a_device_without_queues(kvm):
    """Has what its control block counts, and reasons of its own, whoever looks knows its schema or not."""
    with Machine(config(), ((ProbeDevice("probe"), "host"),)) as machine:
        watch, device, base = Watch(ME), machine.devices[0], machine.devices[0].place.base
        watch.look()
        for register, times in ((Probe.handled, 3), (Probe.declined, 2)):
            for _ in range(times):
                machine.guest_write(Bus.MMIO, base + register.offset, 4, 1)
        vm, = (found := watch.look())["vms"]
        probe, = vm["devices"]
        assert (probe["holder"], probe["generation"], "queues" in probe) == ("kernel", 1, False)
        total = probe["total"]
        assert (total["doorbells"], total["user_doorbells"], sum(total["declined"].values())) == (5, 2, 2)
        assert set(total["declined"]) == {reason.name.lower() for reason in device.layout.reasons}
        said = text(found)
        declined, = (line for line in said if line.split()[:1] == [max(total["declined"], key=total["declined"].get)])
        assert len(declined.split()) == 2 and any(line.split()[:3] == ["probe", "host", "kernel"] for line in said)


def text(told):
    console = Console(width=120)
    with console.capture() as said:
        console.print(tables(told))
    return said.get().splitlines()


def test_several_machines_of_one_process(kvm):
    with Machine(config()), Machine(config()):
        first, second = told()
        assert first.key != second.key


def test_names_that_do_not_fit(kvm):
    device = ProbeDevice("a\udcff" + "b" * 100)
    with Machine(config(), ((device, "off"),)):
        (vm,) = told()
        assert vm.devices[0].name == "a?" + "b" * (LONGEST - 2)


def test_without_vcpus_there_is_nothing_to_tell(image):
    with Machine(config(kvm=False, disks=[DiskConfig(image, offload="off")])):
        assert not told()


def test_a_child_has_none_of_the_devices(kvm):
    with Machine(config()):
        child = os.fork()
        if not child:
            os._exit(len(process.directories(os.getpid())))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and told()


@pytest.mark.parametrize("name", ["auto", "emulator"])
def test_what_runs_it(kvm, name):
    with Machine(config(executor=ExecutorConfig(name))):
        vm, = told()
        assert vm.executor == name


def test_room():
    """Of the most devices that there can be, with the longest names."""
    word = "\N{GRINNING FACE}" * LONGEST
    device = {"name": word, "schema": word, "offload": "host", "reasons": [word] * MAX_REASONS,
              **dict.fromkeys("version layout state at queues uring urings".split(), 2**64 - 1)}
    Directory({"blocks": 1 << 63, "began_ns": 1 << 63, "executor": "emulator", "vcpus": [1 << 63] * VCPUS,
               "devices": [device] * DEVICES}).close()
    with pytest.raises(ValueError, match="bytes of directory; wanted at most"):
        Directory({"names": "x" * ROOM})
