"""Guests whose disk writes wait for the page cache: the BPF build declines them, the native build does them in the
vCPU's loop, and Python sees none."""

import threading
import time

import pytest

from tests.guest.test_guests import adler_in, run
from vmm.devices.blk import BlkDevice
from vmm.devmodel.devices.blk import Writes
from vmm.machine.config import DiskConfig


@pytest.fixture
def at_once(monkeypatch, kvm, bpf):
    """As on a host of two CPUs with ext4."""
    monkeypatch.setattr(BlkDevice, "_writes", lambda self, polled: Writes.AT_ONCE)


def test_check(tmp_path, image, at_once):
    """Every request, cut in every way: only what any handler leaves to Python is Python's."""
    assisted = []
    status, text, (totals,) = run(tmp_path, "check.elf", [DiskConfig(image, offload="on", queues=3)], "rounds=20",
                                  during=lambda machine: assisted.append(machine.vcpus[0].loop))
    assert status == 0 and len(adler_in(text)) == 1, text
    assert assisted[0].assisted > 0 and totals["assisted"] > 0 and totals["declined"]["punted"] > 0
    assert totals["user_handled"] < totals["handled"] / 4


def test_doorbells_leave_the_kernel_and_come_back(tmp_path, image, at_once):
    """While the guest writes; then it reads alone."""
    seen = []

    def watch(machine):
        while machine.status is None:
            if machine.offloading.balancing:
                seen.append((bool(machine.offloading.balancing.out), machine.vcpus[0].loop.hooked))
            time.sleep(0.01)
    status, text, (totals,) = run(tmp_path, "measure.elf", [DiskConfig(image, offload="on")],
                                  "op=write bytes=512 depth=1 batches=20000", during=watch)
    assert status == 0, text
    assert (True, 0) in seen or any(out for out, _ in seen)
    assert seen[-1][1] > totals["assisted"] > 0 and totals["waited"] > 19000 and not totals["user_handled"]


def test_two_cpus_and_pauses(tmp_path, image, at_once):
    """vCPUs that are stopped again and again while the native build works for them: neither a request nor the wish to
    stop is lost."""
    ended = threading.Event()
    pauses = []

    def pause(machine):
        while not ended.is_set() and machine.status is None:
            with machine.paused():
                pauses.append(1)
            time.sleep(0.002)
    status, text, (totals,) = run(tmp_path, "many.elf", [DiskConfig(image, offload="on")], "depth=16 event=1 steps=300",
                                  during=lambda machine: threading.Thread(target=pause, args=(machine,)).start())
    ended.set()
    assert status == 0 and "passed" in text, text
    assert totals["assisted"] > 0 and pauses
