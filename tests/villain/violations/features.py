"""Features that a driver must not accept (VIRTIO 1.2, 2.2.1, 6.1)."""

from __future__ import annotations

from functools import partial

from vmm.devices import net_features as net
from vmm.virtio.virtio_device import VERSION_1

from ..scene import Scene
from ..table import KINDS, REFUSED, SERVED, Outcome, breaks

on_all = partial(breaks, on=KINDS)


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


OFFERED = "no feature is accepted that was not offered"


@on_all("2.2.1", OFFERED, REFUSED)
def in_order(scene: Scene) -> Outcome | None:
    """VIRTIO_F_IN_ORDER, which is not offered."""
    return scene.accept(_bits(35))


@on_all("2.2.1", OFFERED, REFUSED)
def notification_data(scene: Scene) -> Outcome | None:
    """VIRTIO_F_NOTIFICATION_DATA, which is not offered."""
    return scene.accept(_bits(38))


@on_all("2.2.1", OFFERED, REFUSED)
def ring_reset(scene: Scene) -> Outcome | None:
    """VIRTIO_F_RING_RESET, which is not offered."""
    return scene.accept(_bits(40))


@on_all("2.2.1", "no reserved feature bit is accepted", REFUSED)
def reserved_features(scene: Scene) -> Outcome | None:
    """Bits 24 to 27, 30 and 31, of which some are of earlier versions."""
    return scene.accept(_bits(24, 25, 26, 27, 30, 31))


@on_all("2.2.1", "no feature bit is accepted that the specification does not describe", REFUSED)
def unknown_features(scene: Scene) -> Outcome | None:
    """Bits 50 to 63."""
    return scene.accept(_bits(*range(50, 64)))


@on_all("2.2.1", "no feature bit is accepted that the device type does not have", REFUSED)
def features_of_another_type(scene: Scene) -> Outcome | None:
    """All bits of the device type that this device does not offer."""
    return scene.accept(_bits(*range(24)) & ~scene.victim.device.offered)


@on_all("2.2.1", "no feature is accepted that was not offered", SERVED)
def features_in_a_further_window(scene: Scene) -> None:
    """Bits of windows that no feature lies in."""
    scene.victim.start(ready=False)
    scene.write("status", 0)
    for window in (2, 3, 0xffffffff):
        scene.write("driver_features_sel", window)
        scene.write("driver_features", 0xffffffff)
        scene.write("device_features_sel", window)
        scene.expect("device_features", scene.read("device_features"), 0)
    scene.victim.start()
    scene.send()


@on_all("6.1", "VERSION_1 is accepted", REFUSED)
def no_version_1(scene: Scene) -> Outcome | None:
    """All that is usual, without VIRTIO_F_VERSION_1."""
    return scene.accept(0, without=VERSION_1)


@on_all("6.1", "SR_IOV is not negotiated where the device has no such capability", REFUSED)
def sr_iov(scene: Scene) -> Outcome | None:
    """VIRTIO_F_SR_IOV, which is not offered."""
    return scene.accept(_bits(37))


@on_all("6.1", "without ACCESS_PLATFORM there is no IOMMU", REFUSED)
def access_platform(scene: Scene) -> Outcome | None:
    """VIRTIO_F_ACCESS_PLATFORM, which is not offered."""
    return scene.accept(_bits(33))


def _needs(feature: str, bit: int, without: int) -> None:
    """An entry for a feature of the network card's that needs another one (5.1.3.1)."""
    def do(scene: Scene) -> Outcome | None:
        return scene.accept(bit, without)
    do.__name__ = f"{feature.lower()}_alone"
    do.__doc__ = f"VIRTIO_NET_F_{feature}, without what it requires."
    breaks("2.2.1", "no feature is accepted without those that it requires", REFUSED, on=("net",))(do)


CHECKSUMS = net.CSUM | net.GUEST_CSUM
for _name, _bit, _without in (
        ("CTRL_RX", net.CTRL_RX, net.CTRL_VQ), ("CTRL_VLAN", net.CTRL_VLAN, net.CTRL_VQ),
        ("GUEST_ANNOUNCE", net.CTRL_ANNOUNCE, net.CTRL_VQ), ("MQ", net.MQ, net.CTRL_VQ),
        ("CTRL_MAC_ADDR", net.CTRL_MAC_ADDR, net.CTRL_VQ), ("CTRL_GUEST_OFFLOADS", net.GUEST_OFFLOADS, net.CTRL_VQ),
        ("GUEST_TSO4", net.GUEST_TSO4, CHECKSUMS), ("GUEST_TSO6", net.GUEST_TSO6, CHECKSUMS),
        ("GUEST_UFO", net.GUEST_UFO, CHECKSUMS), ("HOST_TSO4", net.HOST_TSO4, CHECKSUMS),
        ("HOST_TSO6", net.HOST_TSO6, CHECKSUMS), ("HOST_UFO", net.HOST_UFO, CHECKSUMS),
        ("GUEST_ECN", net.GUEST_ECN | net.GUEST_CSUM, 0), ("HOST_ECN", net.HOST_ECN | net.CSUM, 0)):
    # what else needs the control queue goes as well, so that there is one reason to refuse
    _control = net.CTRL_RX | net.CTRL_VLAN | net.MQ | net.CTRL_MAC_ADDR
    _needs(_name, _bit, _without | (_control & ~_bit if _without == net.CTRL_VQ else 0))
