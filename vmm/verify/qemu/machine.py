"""QEMU in a Machine's place: what a driver, and a guest of verify's, ask of a machine and of its device."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path

from ...devmodel.exit_path import Bus
from ...kvm.memory import GuestMemory
from ...machine.config import MachineConfig
from ...testing.driver import VERSION_1
from ...virtio.virtio_device import VirtioDevice
from .devices import arguments
from .process import Qemu
from .qtest import QemuGone
from .windows import MmioWindow, PciWindow
from .wire import wires


class QemuMachine:
    """One with the device that `config`, a Machine's, is about; `like` is ours, whose registers its are found by."""

    def __init__(self, config: MachineConfig, like: VirtioDevice, folder: Path):
        self._config, self._like, self._folder, self._runs = config, like, folder, 0
        self.memory = GuestMemory(config.memory)
        self.image = self._map_image()
        self._wires = wires(config)
        try:
            self.start()
            self.device = QemuDevice(self, like)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start QEMU, again perhaps.  Raises QemuGone."""
        own = self._folder / str(self._runs)
        own.mkdir()
        self._runs += 1
        fds = [wire.fileno() for wire in self._wires]
        self.qemu = Qemu(arguments(self._config, fds), fds, self.memory, own)
        window = PciWindow if self._config.virtio[0].transport == "pci" else MmioWindow
        self.window = window(self.qemu.qtest, self.memory, len(self._like.queue_sizes))

    def _map_image(self) -> mmap.mmap | None:
        """What is on the disk, if it is one."""
        if not self._config.disks:
            return None
        with self._config.disks[0].path.open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)

    def guest_read(self, _bus: Bus, address: int, width: int) -> int:
        place = self._place(address)
        return 0 if place is None else self.qemu.qtest.read((place, width))[0]

    def guest_write(self, _bus: Bus, address: int, width: int, value: int) -> int:
        place = self._place(address)
        if place is not None:
            self.qemu.qtest.write(place, width, value)
        return 0

    def _place(self, address: int) -> int | None:
        assert self._like.place.base is not None
        return self.window.place(address - self._like.place.base)

    def close(self) -> None:
        if hasattr(self, "qemu"):
            self.qemu.close()
        for wire in self._wires:
            wire.close()
        self.memory.close()


class QemuDevice:
    """What a driver knows of the device: where its registers are, its queues, and what both it and ours offer."""

    mode = "qemu"

    def __init__(self, machine: QemuMachine, like: VirtioDevice):
        self.name, self.registers, self.place, self.transport = like.name, like.registers, like.place, like.transport
        self.queue_sizes, self.queues = like.queue_sizes, [None] * len(like.queue_sizes)
        self.lock, self.receives = threading.RLock(), like.receives
        self.offered = like.offered & self._features(machine)
        if not self.offered & VERSION_1:
            raise QemuGone(f"QEMU offers features {self.offered:#x}; wanted VERSION_1 among them")

    def _features(self, machine: QemuMachine) -> int:
        found = 0
        select, bits = (self.registers.registers[name] for name in ("device_features_sel", "device_features"))
        for window in (0, 1):
            machine.guest_write(self.place.bus, self.place.at(select.offset), 4, window)
            found |= machine.guest_read(self.place.bus, self.place.at(bits.offset), 4) << 32 * window
        return found


