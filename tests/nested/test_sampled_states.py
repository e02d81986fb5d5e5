"""States of a distribution's kernel that boots and works on a disk, sampled at random moments."""

import random
import subprocess
import time
from contextlib import closing

import pytest

from tests.scale import scaled
from tools.nested.files import DISK
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine

pytest.importorskip("unicorn")
from tools.states.sampled import Sampler

MEMORY = 256 << 20
TIMEOUT_S = 200


@pytest.mark.parametrize("cpus", [1, 2])
def test_sampled_states(linux, tmp_path, cpus):
    """Each goes to a vCPU of another VM and to the emulator, and is the same then; the guest, which goes on from what
    comes out of the emulator, finds all its files as they should be."""
    disk, output, moments = tmp_path / "disk.img", tmp_path / "console", random.Random(13)
    subprocess.run(["cp", "--sparse=always", DISK, disk], check=True)
    config = MachineConfig(linux / "vmlinuz", MEMORY, cpus, "console=ttyS0 quiet panic=-1 job=disk",
                           disks=[DiskConfig(disk, offload="off")], modules=[linux / "guest.img"],
                           serial=f"file={output}", announce=False)
    with Machine(config) as machine:
        machine.start()
        with closing(Sampler(machine, MEMORY)) as sampler:
            while machine.running.status is None and sampler.found.states < scaled(1000):
                sampler.sample()
                time.sleep(moments.random() * 0.05)
        assert machine.wait(TIMEOUT_S) == 0, output.read_text()
    found = sampler.found
    print(f"\nstates {found.states}, emulated {found.emulated}, waiting {found.waiting}, midway {found.midway}")
    assert not found.differences, found.differences[:3]
    assert found.states > scaled(100) and found.emulated > found.states / 4
    assert "guest: files 150" in output.read_text()
