"""Who serves each device, and who says so."""

import threading
import time

import vmm.machine.offloading as offloading
from vmm.machine.config import DiskConfig, MachineConfig
from vmm.machine.machine import Machine


def test_switched_by_several_threads(image, monkeypatch):
    """Each of them, the first to want a backend, waits for the others: there is one of it."""
    made = []

    class Slow(offloading.HostBackend):
        def __init__(self, *given):
            made.append(self)
            time.sleep(0.05)
            super().__init__(*given)
    monkeypatch.setattr(offloading, "HostBackend", Slow)
    disks = [DiskConfig(image, offload="off", read_only=True) for _ in range(3)]
    with Machine(MachineConfig(memory=4 << 20, serial="null", kvm=False, disks=disks)) as machine:
        threads = [threading.Thread(target=machine.set_offload, args=(device, "host")) for device in machine.devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1 and {device.mode for device in machine.devices} == {"host"}
