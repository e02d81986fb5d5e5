"""Machines that fail half way, are switched by several threads, or are closed: nothing of the guest's is lost, and
nothing is left behind."""

import gc
import itertools
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from vmm.errors import UserError
from vmm.kit.build import build
from vmm.kit.load import named
from vmm.kvm.bpf import BpfUnavailable
from vmm.kvm.host_path import HostPath
from vmm.kvm.vm import KvmError, Vm
from vmm.machine.config import MachineConfig
from vmm.machine.machine import Machine
from vmm.offload.native import HostBackend
from vmm.offload.objects import OffloadError
from vmm.offload.tracing import Tracing
from vmm.paths import ROOT


@pytest.fixture(scope="module")
def adder(clang, tmp_path_factory):
    """The example, built: its class, and its guest."""
    folder = tmp_path_factory.mktemp("adder") / "adder"
    shutil.copytree(ROOT / "examples" / "adder", folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
    sys.modules.pop("adder", None)
    found = named(str(folder / "adder.py"))
    build(found)
    yield found.module.AdderDevice, folder / "build" / "guest.elf"
    sys.path.remove(str(folder))
    del sys.modules["adder"]


def machine(adder, mode, guest=True, name="adder"):
    kind, path = adder
    config = MachineConfig(Path(path) if guest else None, memory=32 << 20, serial="null")
    return Machine(config, ((kind(name), mode),))


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def fail_once(monkeypatch, kind, name, nth):
    """The nth call of a method fails; it works otherwise."""
    method, calls = getattr(kind, name), itertools.count(1)

    def call(*given, **named):
        if next(calls) == nth:
            raise KvmError("injected")
        return method(*given, **named)
    monkeypatch.setattr(kind, name, call)


@pytest.mark.parametrize("kind, what, nth", [(HostPath, "listen", 1), (Vm, "ioeventfd", 1), (Vm, "ioeventfd", 2)])
def test_on_that_fails_half_way_is_not_on(kvm, bpf, adder, monkeypatch, kind, what, nth):
    """And what it had begun is undone: the guest's writes reach whoever serves them then, and it may be tried again."""
    with machine(adder, "on") as made:
        made.set_offload(made.devices[0], "off")
        fail_once(monkeypatch, kind, what, nth)
        with pytest.raises(KvmError, match="injected"):
            made.set_offload(made.devices[0], "on")
        assert made.devices[0].mode == "off" and not made.bpf.attached
        for mode in ("host", "on", "off", "on"):
            made.set_offload(made.devices[0], mode)
        assert made.run(60) == 0


def test_host_that_fails_half_way_is_not_host(kvm, adder, monkeypatch):
    with machine(adder, "off") as made:
        backend = made.offloading.backend("host")
        with monkeypatch.context() as patch:
            patch.setattr(HostBackend, "connect", lambda *_: (_ for _ in ()).throw(OffloadError("injected")))
            with pytest.raises(OffloadError, match="injected"):
                made.set_offload(made.devices[0], "host")
        assert made.devices[0].mode == "off" and not backend._routed[0]
        made.set_offload(made.devices[0], "host")
        assert made.run(60) == 0


def test_a_backend_that_cannot_be_made_leaves_nothing(kvm, bpf, adder, monkeypatch):
    """However often it is asked for, and though it had come far."""
    before, fds = threads(), descriptors()
    monkeypatch.setattr("vmm.offload.bpf_backend.Upcalls", lambda *_: (_ for _ in ()).throw(BpfUnavailable("injected")))
    with machine(adder, "auto", guest=False) as made:
        assert made.devices[0].mode == "host" and "injected" in made.choices["adder"]
        for _ in range(3):
            with pytest.raises(BpfUnavailable, match="injected"):
                made.set_offload(made.devices[0], "on")
        assert threads() == before
    assert descriptors() == fds


@pytest.mark.parametrize("what", ["_set_cpuid", "_set_msrs"])
def test_a_vcpu_that_cannot_be_made_leaves_nothing(kvm, monkeypatch, what):
    before = descriptors()
    monkeypatch.setattr(f"vmm.kvm.vm.Vcpu.{what}", lambda *_: (_ for _ in ()).throw(KvmError("injected")))
    with pytest.raises(KvmError, match="injected"):
        Machine(MachineConfig(memory=1 << 20, serial="null"))
    assert descriptors() == before


def test_a_disk_that_cannot_be_made_is_not_held(kvm, image):
    from vmm.machine.config import DiskConfig
    with pytest.raises(UnicodeEncodeError):
        Machine(MachineConfig(memory=1 << 20, serial="null", disks=[DiskConfig(image, serial="\ud800")]))
    Machine(MachineConfig(memory=1 << 20, serial="null", disks=[DiskConfig(image)])).close()


def test_two_vms_of_a_process_are_never_on(kvm, bpf, adder):
    with machine(adder, "on", guest=False) as first:
        first.set_offload(first.devices[0], "off")
        with machine(adder, "off", guest=False):
            with pytest.raises(OffloadError, match="2 VMs in this process"):
                first.set_offload(first.devices[0], "on")
            assert first.devices[0].mode == "off"
        first.set_offload(first.devices[0], "on")


def test_switches_do_not_starve_the_guest(kvm, bpf, adder):
    """One after the other, for as long as it runs; and closing waits for the one that is under way."""
    with machine(adder, "on") as made:
        made.start()
        ended, errors = threading.Event(), []

        def switch():
            try:
                while not ended.is_set():
                    for mode in ("off", "on"):
                        made.set_offload(made.devices[0], mode)
            except UserError as error:
                errors.append(str(error))
        switcher = threading.Thread(target=switch)
        switcher.start()
        assert made.wait(60) == 0
    switcher.join(60)
    assert errors == ["the machine is closed; wanted one that is not"]
    ended.set()


def test_what_is_closed_can_still_be_looked_at(kvm, adder):
    with machine(adder, "host") as made:
        assert made.run(60) == 0
    device, gone = made.devices[0], "the machine is closed"
    bus, base = device.place.bus, device.place.base
    assert device.page.carries == 32 and device.state.control.entry.doorbells == 800
    with device.control:
        pass
    for act in (lambda: made.set_offload(device, "off"), lambda: made.guest_read(bus, base, 4),
                lambda: made.guest_write(bus, base, 4, 1), made.start):
        with pytest.raises(UserError, match=gone):
            act()
    with pytest.raises(ValueError, match="released"):
        made.memory.read(0, 1)


def test_a_device_that_is_held_is_not_switched(adder):
    with Machine(MachineConfig(memory=1 << 20, serial="null", kvm=False), ((adder[0]("adder"), "off"),)) as made:
        device = made.devices[0]
        with device.alone(), pytest.raises(UserError, match="while this thread holds it"):
            made.set_offload(device, "host")
        made.set_offload(device, "host")
        assert device.mode == "host"


def wait(lock) -> None:
    with lock:
        pass


def test_all_that_was_said_is_told(caplog, monkeypatch):
    """Also where the pipe is full when the end comes."""
    with caplog.at_level("INFO", "splitvmm.trace"):
        tracing = Tracing(lambda slot: "it", pytest.fail)
        said, slow = 0, threading.Lock()
        monkeypatch.setattr(tracing, "_name_of", lambda slot: wait(slow) or "it")
        with slow, pytest.raises(BlockingIOError):
            while True:
                os.write(tracing.native_fd, bytes(8) + f"{said}".encode().ljust(tracing._size - 8, b"\0"))
                said += 1
        tracing.close()
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == list(map(str, range(said)))
