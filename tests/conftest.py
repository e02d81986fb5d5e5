"""What tests need of the machine: skip with a reason where it is missing, fail where it is
there and does not work.  SPLITVMM_REQUIRE=kvm,bpf turns those skips into failures."""

import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tools.driver import BlkDriver
from vmm.kvm.bpf import why_not
from vmm.kvm.interrupts import Interrupts
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.testing.bpf_run import machine_without_vcpus
from vmm.virtqueue import uring

SECTORS = 4096
# Files begun first, each of which takes ten seconds and more, so that no process is left with one when the others are
# done (`make test`).  What builds most comes first, as others wait for it.
FIRST = ("tests/package/test_wheel.py", "tests/guest/test_stream_guest.py", "tests/docs/test_pages_are_true.py",
         "tests/guest/test_guests.py", "tests/kit/test_kit.py", "tests/guest/test_net_guest.py",
         "tests/explore/test_explore.py", "tests/villain/test_villain.py", "tests/fuzz/test_fuzz.py",
         "tests/models/test_models.py", "tests/guest/test_kill.py", "tests/verify/test_verify.py",
         "tests/package/test_make.py", "tests/cli/test_ending.py", "tests/executors/test_kvm_state.py",
         "tests/guest/test_many.py", "tests/executors/test_beside.py", "tests/guest/test_adversary.py",
         "tests/bench/test_host.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """In the order in which they are to be run."""
    ranks = {config.rootpath / name: rank for rank, name in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(FIRST)))


def _missing(feature: str, reason: str) -> None:
    if feature in os.environ.get("SPLITVMM_REQUIRE", "").split(","):
        pytest.fail(f"{feature}: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _signals_of_started_processes():
    """They are not ignored, also where nohup(1) or `&` in a script has the tests ignore them: what is
    caught and dropped here is at its default there (execve(2))."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _streams_of_started_processes():
    """They are buffered as a user's are."""
    os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture(scope="session")
def kvm():
    """/dev/kvm exists; whether it works is for the test to show."""
    if not os.path.exists("/dev/kvm"):
        _missing("kvm", "no /dev/kvm on this machine")


@pytest.fixture(scope="session")
def bpf_run():
    """BPF programs may be loaded and run; KVM has no part in that."""
    if reason := why_not():
        _missing("bpf", reason)


@pytest.fixture(scope="session")
def bpf(kvm, bpf_run):
    """BPF programs on KVM's tracepoints."""


@pytest.fixture(scope="session")
def emulator():
    pytest.importorskip("unicorn")
    pytest.importorskip("capstone")


@pytest.fixture(scope="session")
def clang():
    """What handlers are compiled with for BPF."""
    if not shutil.which("clang"):
        pytest.skip("no clang on this machine")


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


MODES = ["off", "host", "on"]
OFFLOADED = ["host", "on"]


@pytest.fixture
def machine_with(request):
    """Makes machines without vCPUs from their configurations; closes them."""
    made = []

    def make(**config):
        config = MachineConfig(serial="null", kvm=False, **config)
        if any(device.offload == "on" for device in config.virtio):
            request.getfixturevalue("bpf_run")
        made.append(machine_without_vcpus(config))
        return made[-1]
    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def machine_of(machine_with):
    """The same, with one disk."""
    def make(image, mode="off", memory=4 << 20, **disk):
        asked = {"poll": "off"} | disk      # or it would not be known which doorbells are asked for
        return machine_with(memory=memory, disks=[DiskConfig(image, offload=mode, **asked)])
    return make


@pytest.fixture(params=MODES)
def driver(request, image, machine_of) -> BlkDriver:
    """A driver of a disk served by the Python half, by the native handler, or by the BPF one, which does
    not leave to userspace what this host's file system is slow at."""
    if request.param == "on":
        request.getfixturevalue("ring")
    machine = machine_of(image, request.param, asynchronous="on" if request.param == "on" else "auto")
    return BlkDriver(machine, machine.devices[0])


@pytest.fixture(params=MODES)
def mode_of_device(request) -> str:
    """Who serves, in a machine without vCPUs."""
    return request.param


@pytest.fixture(params=OFFLOADED)
def offload(request) -> str:
    """The same, where that is a handler."""
    return request.param


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory, request):
    """Makes the villain's stage of a setting, or has it from the case before; a new one after a failure."""
    from tests.villain.stage import Stage
    kept = {}

    def make(setting, fresh=False):
        if fresh or setting not in kept:
            for stage in kept.values():
                stage.close()
            kept.clear()
            request.getfixturevalue("ring")
            if setting.mode == "on":
                request.getfixturevalue("bpf_run")
            kept[setting] = Stage(setting, tmp_path_factory.mktemp("stage"))
        return kept[setting]
    yield make
    for stage in kept.values():
        stage.close()


@pytest.fixture
def interrupts(monkeypatch):
    """interrupts(machine): how many a guest would have had of it."""
    pulses = Counter()
    pulse = Interrupts.pulse

    def count(self, pin):
        pulses[self] += 1
        pulse(self, pin)
    monkeypatch.setattr(Interrupts, "pulse", count)
    return lambda machine: machine.vm.interrupts.total() if machine.vm else pulses[machine.interrupts]
