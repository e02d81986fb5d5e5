"""A machine with a device of each kind, drivers that break rules, and what must not change whatever those do."""

from __future__ import annotations

import mmap
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from tests.pci.config_space import ConfigSpace
from tools.driver import RING_PACKED
from vmm.device.register_device import RegisterDevice
from vmm.devices.net_backend import Socket
from vmm.devmodel.exit_path import CHUNK
from vmm.devmodel.layout import PAGE, layout_block
from vmm.devmodel.view import ffi
from vmm.machine.config import ConsoleConfig, DiskConfig, MachineConfig, NicConfig, RngConfig
from vmm.machine.machine import Machine
from vmm.testing.bpf_run import machine_without_vcpus

from .mirror import Mirror
from .table import RINGS, TRANSPORTS
from .victims import MAC_ADDRESS, PATIENCE_S, Card, Dice, Disk, OtherDisk, Port, Villain

MODES = ("off", "host", "on")
MEMORY = 2 << 20        # bytes
SIZE = 16               # entries of each queue
PAIRS = 2               # of the card's queues


@dataclass(frozen=True)
class Setting:
    """Who serves, and what the driver reaches it by."""

    mode: str
    rings: str
    transport: str

    def __str__(self) -> str:
        return f"{self.mode}-{self.rings}-{self.transport}"


SETTINGS = [Setting(*each) for each in product(MODES, RINGS, TRANSPORTS)]


class Stage:
    """Kinds of device by name; `other` is a second disk."""

    def __init__(self, setting: Setting, folder: Path):
        self.setting, self.folder = setting, folder
        self.images = [self._image(folder / name) for name in ("disk", "other")]
        self._sockets: list[socket.socket] = []
        self.machine = self._machine()
        self.mirror = Mirror(self.machine.memory)
        features = RING_PACKED if setting.rings == "packed" else 0
        self.drivers: dict[str, Villain] = {
            name: kind(self.machine, device, kind.FEATURES | features, SIZE, mirror=self.mirror, peer=peer)
            for (name, kind, peer), device in zip(self._kinds(), self.machine.devices, strict=True)}
        self._slack = self._map_slack()
        self.second = ThreadPoolExecutor(1)     # another vCPU
        self.listener = ThreadPoolExecutor(1)   # the other end of a wire, while something is sent without an end

    @staticmethod
    def _image(path: Path) -> Path:
        path.write_bytes(b"".join(i.to_bytes(8, "little") * 64 for i in range(Disk.SECTORS)))
        return path

    def _kinds(self):
        return (("blk", Disk, None), ("other", OtherDisk, None), ("net", Card, self._sockets[0]),
                ("console", Port, self._sockets[-1]), ("rng", Dice, None))

    def _machine(self) -> Machine:
        mode, transport = self.setting.mode, self.setting.transport
        how = dict(offload=mode, transport=transport, packed=True, poll="off",
                   asynchronous="on" if mode == "on" else "auto")
        ours, theirs = zip(*(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(PAIRS)))
        backend = Socket(connected=list(ours))
        backend.offloads = True
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.folder / "console"))
            listener.listen()
            machine = machine_without_vcpus(MachineConfig(
                memory=MEMORY, serial="null", kvm=False, disks=[DiskConfig(path, **how) for path in self.images],
                nets=[NicConfig(backend=backend, mac=MAC_ADDRESS, queues=PAIRS, **how)],
                consoles=[ConsoleConfig(f"socket={self.folder / 'console'}", **how)], rng=RngConfig(**how)))
            self._sockets = [*theirs, listener.accept()[0]]
        for each in self._sockets:
            each.settimeout(PATIENCE_S)
        return machine

    def _map_slack(self) -> mmap.mmap | None:
        """What lies behind RAM in its BPF map, which a handler's verifier lets it reach and which is no guest's."""
        memory = self.machine.memory
        if memory.map_fd < 0:
            return None
        return mmap.mmap(memory.map_fd, CHUNK, mmap.MAP_SHARED, mmap.PROT_READ, offset=memory.element)

    def outside(self, victim: str) -> dict[str, bytes]:
        """What no request may change, by its name: but for a write to a disk, and for registers of the victim's."""
        found = {str(path): path.read_bytes() for path in self.images}
        for name, driver in self.drivers.items():
            device, page = driver.device, self._page(driver.device)
            at = device.transport.config
            found[f"{name}'s configuration"] = page[at:at + layout_block(device.config_type).size]
            if name != victim:
                found[f"{name}'s registers"] = page
        if self._slack:
            found["memory behind RAM"] = self._slack[:]
        return found

    @staticmethod
    def _page(device: RegisterDevice) -> bytes:
        return bytes(ffi.buffer(ffi.cast("char *", device.place.page), PAGE))

    @cached_property
    def config_spaces(self) -> dict[str, ConfigSpace]:
        """Over PCI, by the device's name."""
        return {name: ConfigSpace(self.machine, driver.device.transport.function.number)
                for name, driver in self.drivers.items()}

    def drain_pairs(self) -> None:
        """What was sent by any pair of queues goes."""
        for each in self._sockets[:PAIRS]:
            while select.select([each], [], [], 0)[0]:
                each.recv(1 << 16)

    def close(self) -> None:
        self.second.shutdown()
        self.listener.shutdown()
        self.machine.close()
        for each in self._sockets:
            each.close()
        if self._slack:
            self._slack.close()
