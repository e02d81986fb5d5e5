"""Guests that the emulator runs alone: all that they check is so there, without /dev/kvm."""

import zlib

import pytest

from tests.executors.test_partial import DANCES, danced
from tests.guest.test_guests import adler_in, expected_area, run
from vmm.errors import UserError
from vmm.kvm import vm as kvm_vm
from vmm.machine.config import DiskConfig, ExecutorConfig

pytest.importorskip("unicorn")

ALONE = ExecutorConfig("emulator")


@pytest.fixture(autouse=True)
def no_kvm(monkeypatch):
    """Nobody opens it."""
    def refused(*_):
        raise AssertionError("/dev/kvm is opened")
    monkeypatch.setattr(kvm_vm, "open_kvm", refused)


@pytest.fixture(params=["off", "host"])
def offload(request):
    return request.param


@pytest.mark.parametrize("transport, packed", [("mmio", False), ("mmio", True), ("pci", False), ("pci", True)])
def test_check(tmp_path, image, offload, transport, packed):
    """Every request, cut in every way, with interrupts by pins and by messages."""
    disk = DiskConfig(image, offload=offload, queues=3, transport=transport, packed=packed)
    status, text, (totals,) = run(tmp_path, "check.elf", [disk], f"rounds=3 transport={transport} packed={int(packed)}",
                                  executor=ALONE)
    assert status == 0 and "passed" in text, text
    assert image.read_bytes() == expected_area(4096)
    assert adler_in(text) == [zlib.adler32(image.read_bytes())]
    assert bool(totals["handled"]) == (offload == "host")


def test_hostile(tmp_path, image, offload):
    status, text, _ = run(tmp_path, "hostile.elf", [DiskConfig(image, offload=offload)], executor=ALONE)
    assert status == 0 and "hostile: passed" in text, text


@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_masked_and_moved(tmp_path, image, offload, transport):
    """Interrupts masked and unmasked, and BARs moved, while requests are in flight."""
    disk = DiskConfig(image, offload=offload, transport=transport)
    status, text, _ = run(tmp_path, "mask.elf", [disk], f"rounds=4 transport={transport}", executor=ALONE)
    assert status == 0 and "passed" in text, text


@pytest.mark.parametrize("cpus", [2, 5])
def test_several_vcpus(tmp_path, cpus):
    """INIT and STARTUP, interrupts between processors."""
    assert run(tmp_path, "smp.elf", cpus=cpus, executor=ALONE)[:2] == (0, "smp: passed\n")


def test_two_vcpus_at_one_queue(tmp_path, image, offload):
    status, text, (totals,) = run(tmp_path, "twocpus.elf", [DiskConfig(image, offload=offload, queues=2)],
                                  "requests=100", cpus=2, executor=ALONE)
    assert status == 0 and "passed" in text, text
    assert totals["handled"] + totals["user_handled"] >= 100


@pytest.mark.parametrize("dance", DANCES)
def test_accesses_are_those_of_kvm(tmp_path, monkeypatch, kvm, dance):
    alone, _, _ = danced(tmp_path, dance, ALONE)
    monkeypatch.undo()
    assert alone == danced(tmp_path, dance, ExecutorConfig())[0]


def test_a_kernel_half_needs_exits(tmp_path, image):
    with pytest.raises(UserError, match=r"offload=on: not a guest of KVM's, .*; wanted host, off or auto"):
        run(tmp_path, "check.elf", [DiskConfig(image, offload="on")], executor=ALONE)


def test_auto_is_the_native_half(tmp_path, image):
    status, _, (totals,) = run(tmp_path, "check.elf", [DiskConfig(image, queues=3)], executor=ALONE)
    assert status == 0 and totals["handled"]
