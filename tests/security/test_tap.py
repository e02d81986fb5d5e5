"""A real TAP at the other end: what a guest sends that is no frame, and what is no TAP."""

import os
import subprocess
import sys

import pytest

from vmm.devices.net_backend import BackendError, Tap

NAME = "attacked0"
FRAMES = 200            # of each length
# Run in a network namespace of its own: the driver sends frames of 0 to 13 bytes behind their header, then one that is
# whole, which the interface counts.
SHORT_FRAMES = f"""
import sys
from pathlib import Path
from tools.driver import INDIRECT_DESC, NetDriver
from vmm.bench.net import enter_namespace
from vmm.machine.config import MachineConfig, NicConfig
from vmm.testing.bpf_run import machine_without_vcpus
enter_namespace()
machine = machine_without_vcpus(MachineConfig(memory=4 << 20, serial="null", kvm=False, nets=[
    NicConfig(tap={NAME!r}, offload=sys.argv[1])]))
driver = NetDriver(machine, machine.devices[0], features=INDIRECT_DESC)
for i in range({FRAMES}):
    for length in range(14):
        driver.send(b"x" * length)
        assert len(driver.rings[1].take()) == 1, length
driver.send(b"\\xff" * 6 + b"\\2\\0\\0\\0\\0\\1\\x08\\0" + b"." * 46)
assert len(driver.rings[1].take()) == 1 and not driver.needs_reset
for line in Path("/proc/self/net/dev").read_text().splitlines():
    if {NAME!r} in line:
        print(line.split()[2])
machine.close()
"""


def test_short_frames_leave_nothing(network, ring, mode_of_device, request):
    if mode_of_device == "on":
        request.getfixturevalue("bpf_run")
    done = subprocess.run([sys.executable, "-c", SHORT_FRAMES, mode_of_device], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stdout + done.stderr


@pytest.mark.parametrize("open_one", [lambda: os.open("/dev/null", os.O_RDWR), lambda: os.pipe()[0],
                                      lambda: os.memfd_create("x"), lambda: os.eventfd(0)])
def test_descriptors_that_are_no_tap(open_one):
    """Whatever else a descriptor is of, it is refused by what it is, not by its number."""
    fd = open_one()
    with pytest.raises(BackendError, match=f"descriptor {fd}: .*; wanted an open TAP"):
        Tap(fds=[fd])
    os.close(fd)
