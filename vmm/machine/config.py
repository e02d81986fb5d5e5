"""What a machine is asked to be; plain data, as the command line or a program fills it in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..devmodel.exit_path import VCPUS
from ..errors import UserError
from ..values import choice

if TYPE_CHECKING:
    from ..device.register_device import RegisterDevice


EXECUTORS = ("kvm", "auto", "emulator")
TRANSPORTS = ("mmio", "pci")
CACHES = ("writeback", "none", "writethrough")
VGAS = ("std", "none")
MACHINE_PORTS = ("", "test")
MOST_BLOCKS = 1 << 20
ON_OFF_AUTO = ("on", "off", "auto")
POLL_IDLE_US, MOST_IDLE_US = 50, 1_000_000


def _make_paths(config: object, *names: str) -> None:
    """Of what may as well be text."""
    for name in names:
        if isinstance(value := getattr(config, name), str):
            setattr(config, name, Path(value))


@dataclass(kw_only=True)
class VirtioConfig:
    """What every virtio device can be told."""

    offload: str = "auto"           # on, host, off or auto
    asynchronous: str = "auto"      # on, off or auto: I/O by the handler, through io_uring
    poll: str = "auto"              # on, off or auto: busy queues are looked at instead of rung
    idle_us: int = POLL_IDLE_US     # until nothing has come for so long
    transport: str = "mmio"         # mmio or pci
    packed: bool = False            # offer packed rings

    def check(self) -> None:
        """Raises UserError, as those of the other configurations do."""
        choice(self.asynchronous, "asynchronous", ON_OFF_AUTO)
        choice(self.poll, "poll", ON_OFF_AUTO)
        if not 1 <= self.idle_us <= MOST_IDLE_US:
            raise UserError(f"idle_us {self.idle_us}; wanted 1 to {MOST_IDLE_US}")
        choice(self.transport, "transport", TRANSPORTS)


@dataclass
class DiskConfig(VirtioConfig):
    """One `--disk`."""

    path: Path
    read_only: bool = False
    cache: str = "writeback"        # writeback, none or writethrough
    queues: int = 1
    serial: str = ""
    queue_size: int = 256
    raw: bool = False               # whatever format the image seems to have

    def __post_init__(self) -> None:
        _make_paths(self, "path")

    def check(self) -> None:
        super().check()
        choice(self.cache, "cache", CACHES)


def random_mac() -> bytes:
    """A unicast address that is locally administered (IEEE 802, 8.4): its first byte says both."""
    return b"\x02" + os.urandom(5)


@dataclass
class NicConfig(VirtioConfig):
    """One `--net`: `tap` (an interface's name), `fds` (open TAP descriptors), `socket` (a path) or
    `backend` (an object of vmm.devices.net_backend) says what it is plugged into."""

    tap: str = ""
    fds: list[int] | None = None
    socket: Path | None = None
    backend: object = None
    mac: bytes = field(default_factory=random_mac)
    queues: int = 1             # pairs
    mtu: int | None = None
    anti_spoof: bool = False
    packets_per_s: int = 0      # limits of what is sent; 0 for none
    bytes_per_s: int = 0
    queue_size: int = 256

    def __post_init__(self) -> None:
        _make_paths(self, "socket")

    def plug(self):
        """What it is plugged into, opened."""
        from ..devices.net_backend import Socket, Tap
        if self.backend:
            return self.backend
        return Socket(self.socket) if self.socket else Tap(self.tap, self.fds, self.queues, self.mtu)


@dataclass
class ConsoleConfig(VirtioConfig):
    """One `--console`; `where` is stdio, null, file=PATH (output alone) or socket=PATH."""

    where: str


@dataclass
class RngConfig(VirtioConfig):
    """`--rng`."""


@dataclass
class DeviceConfig(VirtioConfig):
    """One `--device`: a device that is not one of ours.  All of a VirtioConfig but `offload` is for virtio
    devices, `base` and `bus` for the others."""

    make: Callable[[], RegisterDevice]      # anew for each machine, as one that restarts is another machine
    base: int | None = None                 # guest-physical address or port; None for the next free place
    bus: str = "mmio"                       # mmio or port


@dataclass
class ExecutorConfig:
    """`--executor`: what runs the vCPUs."""

    name: str = "kvm"           # kvm; auto: KVM, and an emulator for what is better done there; emulator: that alone
    blocks: int | None = None   # of auto: basic blocks that are emulated after an exit; 0: none; None: as it pays

    def check(self) -> None:
        choice(self.name, "executor", EXECUTORS)
        if self.blocks is None:
            return
        if self.name != "auto":
            raise UserError(f"executor {self.name} with blocks; wanted them with auto alone")
        if not 0 <= self.blocks <= MOST_BLOCKS:
            raise UserError(f"executor blocks {self.blocks}; wanted a whole number from 0 to {MOST_BLOCKS}")


@dataclass
class RecordConfig:
    """`--record`."""

    path: Path
    most_bytes: int = 256 << 20     # of the file

    def __post_init__(self) -> None:
        _make_paths(self, "path")


@dataclass
class MachineConfig:
    """What `splitvmm run` was told."""

    guest: Path | None = None       # an ELF file, a bzImage, or a flat binary
    memory: int = 256 << 20         # bytes
    cpus: int = 1
    cmdline: str = ""
    disks: list[DiskConfig] = field(default_factory=list)
    nets: list[NicConfig] = field(default_factory=list)
    consoles: list[ConsoleConfig] = field(default_factory=list)
    rng: RngConfig | None = None
    devices: list[DeviceConfig] = field(default_factory=list)
    modules: list[Path] = field(default_factory=list)
    initrd: Path | None = None      # in the modules' place
    flat: int | None = None         # guest-physical address of a flat binary
    machine_ports: str = ""         # test: those of QEMU's test devices, for kvm-unit-tests
    firmware: Path | None = None    # a BIOS's ROM, or "seabios", which starts the guest from a disk
    vga: str = "none"               # or std: QEMU's standard one
    keys: str = ""                  # typed on its keyboard: vmm.firmware.keymap
    serial: str = "stdout"          # stdout, stdio (input as well), null or file=PATH
    fresh: bool = True              # output files are emptied first, not appended to
    announce: bool = True           # virtio-mmio devices on the command line, as well as by ACPI
    trace: bool = False             # log what devices' kernel halves say of themselves, by trace()
    record: RecordConfig | None = None  # where what devices do is written to
    verifier_log: Path | None = None    # keeps all that the verifier says of handlers that it refuses
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    hugepages: str = "auto"         # on, off or auto: RAM in huge pages, where it is no BPF map
    kvm: bool = True                # without it there are no vCPUs: a driver in Python is the guest

    def __post_init__(self) -> None:
        _make_paths(self, "guest", "initrd", "firmware", "verifier_log")
        self.modules = [Path(module) for module in self.modules]

    def check(self) -> None:
        """What nothing would say later, or not so well."""
        if not 1 <= self.cpus <= VCPUS:
            raise UserError(f"{self.cpus} CPUs; wanted 1 to {VCPUS}")
        choice(self.vga, "vga", VGAS)
        choice(self.hugepages, "hugepages", ON_OFF_AUTO)
        if self.machine_ports not in MACHINE_PORTS:
            raise UserError(f"machine ports {self.machine_ports!r}; wanted test, or none")
        if self.keys and not self.firmware:
            raise UserError("keys without firmware; wanted both, as no other guest has a keyboard")
        self.executor.check()
        for device in self.virtio:
            device.check()

    @property
    def has_exits(self) -> bool:
        """Whether KVM runs its vCPUs: where a kernel half can be on its way."""
        return self.kvm and self.executor.name != "emulator"

    @property
    def modes(self) -> set[str]:
        """Those that its devices ask for."""
        return {device.offload for device in (*self.virtio, *self.devices)}

    @property
    def virtio(self) -> list[VirtioConfig]:
        """Every virtio device."""
        return [*self.disks, *self.nets, *self.consoles, *([self.rng] if self.rng else [])]
