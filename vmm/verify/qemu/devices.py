"""QEMU's arguments for a device as ours is configured."""

from __future__ import annotations

from ...machine.config import ConsoleConfig, DiskConfig, MachineConfig, NicConfig, RngConfig, VirtioConfig

VECTORS = 4             # at least: no device here has more than three queues
# modern, and a doorbell is served before its write ends
MMIO = ["-global", "virtio-mmio.force-legacy=false", "-global", "virtio-mmio.ioeventfd=off"]


def arguments(config: MachineConfig, fds: list[int]) -> list[str]:
    """For the first virtio device of the machine; `fds` are what it has for a wire."""
    device, = config.virtio
    match device:
        case DiskConfig():
            return _blk(device)
        case RngConfig():
            return ["-object", "rng-builtin,id=rng", *_device("virtio-rng", device, "rng=rng")]
        case NicConfig():
            return _net(device, *fds)
        case ConsoleConfig():
            return _console(device, *fds)
    raise TypeError(f"{type(device).__name__}; wanted a device that QEMU has")


def _device(name: str, config: VirtioConfig, *options: str) -> list[str]:
    """Over PCI with a vector for each queue, and one for changes of configuration."""
    packed = f"packed={_on(config.packed)}"
    if config.transport == "pci":
        return ["-device", ",".join([f"{name}-pci", "addr=1", "disable-legacy=on", "ioeventfd=off",
                                     f"vectors={VECTORS}", packed, *options])]
    return [*MMIO, "-device", ",".join([f"{name}-device", "bus=virtio-mmio-bus.0", packed, *options])]


def _blk(disk: DiskConfig) -> list[str]:
    """Requests are done one after the other, in the driver's order."""
    file = f"driver=file,node-name=disk,filename={disk.path},discard=unmap,read-only={_on(disk.read_only)}"
    return ["-object", "main-loop,id=main-loop,thread-pool-max=1", "-blockdev", file,
            *_device("virtio-blk", disk, "drive=disk", "request-merging=off", f"serial={disk.serial}",
                     f"num-queues={disk.queues}", f"queue-size={disk.queue_size}",
                     f"write-cache={_on(disk.cache != 'writethrough')}")]


def _net(nic: NicConfig, fd: int) -> list[str]:
    """Packets go to a datagram socket, and come from it."""
    return ["-netdev", f"dgram,id=net,local.type=fd,local.str={fd}",
            *_device("virtio-net", nic, "netdev=net", f"mac={nic.mac.hex(':')}")]


def _console(console: ConsoleConfig, fd: int) -> list[str]:
    """A port that is the console, on a stream socket."""
    return ["-chardev", f"socket,id=port,fd={fd}", *_device("virtio-serial", console, "max_ports=1"),
            "-device", "virtconsole,chardev=port"]


def _on(yes: bool) -> str:
    return "on" if yes else "off"
