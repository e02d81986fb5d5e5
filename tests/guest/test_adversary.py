"""A driver that breaks all rules at once, on two vCPUs, while its queue is polled, switched, reset and killed."""

import threading

import pytest

from tests.guest.test_guests import run
from tests.scale import scaled
from vmm.machine.config import DiskConfig

ROUNDS = scaled(24)


def attack(tmp_path, image, seed, wild, transport="pci", during=None, **how):
    disk = DiskConfig(image, transport=transport, packed=True, queues=2, **how)
    status, text, _ = run(tmp_path, "adversary.elf", [disk], f"transport={transport} seed={seed} wild={wild} "
                          f"rounds={ROUNDS}", cpus=2, during=during)
    assert status == 0 and "adversary: passed" in text, text


@pytest.mark.parametrize("wild", [0, 20])
@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_in_each_mode(tmp_path, mode, image, transport, wild):
    """Nothing around what it gave the device is written to, and after a reset the device serves as ever."""
    attack(tmp_path, image, 1 + wild, wild, transport, offload=mode)


@pytest.mark.parametrize("idle_us, cache", [(1, "none"), (50, "writeback"), (100_000, "none")])
def test_while_it_is_polled(tmp_path, kvm, bpf, ring, image, idle_us, cache):
    attack(tmp_path, image, idle_us, 0, offload="on", poll="on", idle_us=idle_us, cache=cache)


def test_while_it_is_switched(tmp_path, kvm, bpf, image):
    def toggle(machine):
        def switch():
            while machine.status is None:
                for mode in ("off", "on", "host", "on"):
                    machine.set_offload(machine.devices[0], mode)
        thread = threading.Thread(target=switch)
        thread.start()
        machine.wait(120)
        thread.join()
    attack(tmp_path, image, 3, 0, during=toggle, offload="on", poll="on")
