"""A recorded guest's accesses, played again in all modes."""

import os

import pytest

from tests.cli.test_cli import say
from tests.tracefile.made import DISK, END, HEADER, event, recording, rung
from vmm.devices.probe import ProbeDevice
from vmm.devmodel.exit_path import Half
from vmm.devmodel.recording import EventKind
from vmm.errors import UserError
from vmm.machine.config import MachineConfig, RecordConfig
from vmm.testing.bpf_run import machine_without_vcpus
from vmm.testing.driver import Registers
from vmm.verify.campaign import Campaign
from vmm.verify.recorded import steps_of
from vmm.verify.steps import step
from vmm.verify.strategy import strategy_of

PROBE = {**DISK, "name": "probe", "schema": "probe", "queues": []}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.rec"


def test_each_access_is_one_step(path, mode_of_device, request):
    """Also where two halves saw it, and whichever halves those were."""
    if mode_of_device == "on":
        request.getfixturevalue("bpf_run")
    config = MachineConfig(memory=4 << 20, serial="null", kvm=False, record=RecordConfig(path))
    with machine_without_vcpus(config, ((ProbeDevice("probe"), mode_of_device),)) as machine:
        probe = Registers(machine, machine.devices[0])
        for name, value in (("posted0", 3), ("declined", 6), ("handled", 7), ("declined", 6)):
            probe.write(name, value)
        probe.read("constant")
        probe.write_at(0x11, 1, 5)
    registers = ProbeDevice.schema
    wanted = [step("write_at", offset=getattr(registers, name).offset, width=4, value=value)
              for name, value in (("posted0", 3), ("declined", 6), ("handled", 7), ("declined", 6))]
    wanted += [step("read_at", offset=registers.constant.offset, width=4),
               step("write_at", offset=0x11, width=1, value=5)]
    assert steps_of(path, "probe") == wanted
    assert Campaign(strategy_of(ProbeDevice), "probe", ["off", "host"], {}).replay(wanted) is None


def test_a_write_that_is_repeated_is_two(path):
    """Python's own, beside one that was declined."""
    write = dict(offset=0x80, width=2, value=1)
    path.write_bytes(recording(
        event(EventKind.WRITE, **write), event(EventKind.DECLINE, reason=12, **write),
        event(EventKind.WRITE, half=Half.PYTHON, **write), event(EventKind.WRITE, half=Half.PYTHON, **write),
        start=(HEADER, PROBE)))
    assert steps_of(path, "probe") == [step("write_at", **write)] * 2


@pytest.mark.parametrize("data, says", [
    (recording(rung(1)), "disk0 has queues, and what they were of, guest memory, is not recorded"),
    (recording(rung(1), {"dropped": 3, "time": 9}), "3 events were dropped; wanted all that the guest did"),
    (recording(start=(HEADER, PROBE)), "events of 0 devices with the schema blk; wanted one such device"),
    (recording(rung(1), end=({**DISK, "name": "disk1"}, rung(2), END)), "events of 2 devices with the schema blk"),
])
def test_what_cannot_be_played_again(path, data, says):
    path.write_bytes(data)
    with pytest.raises(UserError, match=says):
        steps_of(path, "blk")


def test_the_command(capsys, path):
    path.write_bytes(recording(rung(1)))
    status, _, err = say(capsys, "verify", "blk", "--modes", "off,host", "--replay", path)
    assert status == os.EX_USAGE and "disk0 has queues" in err
