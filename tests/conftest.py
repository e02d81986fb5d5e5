"""What tests need of the machine: skip with a reason where it is missing, fail where it is
there and does not work.  SPLITVMM_REQUIRE=kvm,bpf turns those skips into failures."""

import os
import subprocess
from pathlib import Path

import pytest

from tools.driver import BlkDriver
from vmm.kvm.bpf import why_not
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine
from vmm.virtqueue import uring

SECTORS = 4096


def _missing(feature: str, reason: str) -> None:
    if feature in os.environ.get("SPLITVMM_REQUIRE", "").split(","):
        pytest.fail(f"{feature}: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kvm():
    """/dev/kvm exists; whether it works is for the test to show."""
    if not os.path.exists("/dev/kvm"):
        _missing("kvm", "no /dev/kvm on this machine")


@pytest.fixture(scope="session")
def bpf(kvm):
    if reason := why_not():
        _missing("bpf", reason)


@pytest.fixture(scope="session")
def network():
    """TAP interfaces, and network namespaces to have them in."""
    if not os.path.exists("/dev/net/tun"):
        _missing("network", "no /dev/net/tun on this machine")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        _missing("network", "no network namespace may be made here")


@pytest.fixture(scope="session")
def ring():
    """io_uring as the ring needs it."""
    if reason := uring.why_not():
        _missing("ring", reason)


@pytest.fixture(params=["off", "host", "on"])
def mode(request, kvm):
    """An offload mode, for tests that boot a guest."""
    if request.param == "on":
        request.getfixturevalue("bpf")
    return request.param


@pytest.fixture
def image(tmp_path) -> Path:
    """A disk image whose every sector tells its number."""
    path = tmp_path / "disk"
    path.write_bytes(b"".join(i.to_bytes(8, "little") * 64 for i in range(SECTORS)))
    return path


@pytest.fixture
def machine_of():
    """Makes machines without vCPUs; closes them."""
    made = []

    def make(image, mode="off", memory=4 << 20, **disk):
        machine = Machine(MachineConfig(memory=memory, serial="null", kvm=False,
                                        disks=[DiskConfig(image, offload=mode, **disk)]))
        made.append(machine)
        return machine
    yield make
    for machine in made:
        machine.close()


@pytest.fixture(params=["off", "host"])
def driver(request, image, machine_of) -> BlkDriver:
    """A driver of a disk served by the Python half, or by the native handler."""
    machine = machine_of(image, request.param)
    return BlkDriver(machine, machine.devices[0])
