"""Commands of a network card's control queue (VIRTIO 1.2, 5.1.6.5)."""

from __future__ import annotations

import struct
from functools import partial

from tools.driver import WRITE
from vmm.devices import net_features as net
from vmm.devmodel.devices.net import ControlClass

from ..scene import Scene
from ..stage import PAIRS
from ..table import ERROR, IGNORED, NEEDS_RESET, SERVED, Outcome, breaks

breaks = partial(breaks, on=("net",))
RX, MAC, VLAN, ANNOUNCE, MQ, OFFLOADS = (ControlClass[name] for name in (
    "RX", "MAC", "VLAN", "ANNOUNCE", "MQ", "GUEST_OFFLOADS"))
COALESCE, HASH_TUNNEL = 6, 7        # classes of 1.3
ADDRESS = b"\2\0\0\0\0\5"
CONTROL = -1                        # the queue


def _command(name: str, section: str, must: str, how: str, kind: int, command: int, data: bytes = b"",
             without: int = 0, features: int = 0, allowed: tuple[Outcome, ...] = (ERROR,)) -> None:
    def do(scene: Scene) -> Outcome:
        return scene.command(kind, command, data)
    do.__name__, do.__doc__ = name, how
    breaks(section, must, *allowed, without=without, features=features)(do)


NEGOTIATED = "commands are of features that were negotiated"
for _number, _name in enumerate(("promisc", "allmulti")):
    _command(f"rx_{_name}_not_negotiated", "5.1.6.5.1.2", NEGOTIATED, f"{_name.upper()} without CTRL_RX.", RX, _number,
             b"\1", without=net.CTRL_RX)
for _number, _name in enumerate(("alluni", "nomulti", "nouni", "nobcast"), 2):
    _command(f"rx_{_name}_not_negotiated", "5.1.6.5.1.2", NEGOTIATED, f"{_name.upper()} without CTRL_RX_EXTRA.", RX,
             _number, b"\1")
_command("rx_without_a_value", "5.1.6.5.1.2", "a command has its data", "PROMISC with nothing behind it.", RX, 0)
_command("mac_table_not_negotiated", "5.1.6.5.2.2", NEGOTIATED, "MAC_TABLE_SET without CTRL_RX.", MAC, 0, bytes(8),
         without=net.CTRL_RX)
_command("mac_address_not_negotiated", "5.1.6.5.2.2", NEGOTIATED, "MAC_ADDR_SET without CTRL_MAC_ADDR.", MAC, 1,
         ADDRESS, without=net.CTRL_MAC_ADDR)
_command("mac_address_cut", "5.1.6.5.2.2", "a command has its data", "MAC_ADDR_SET with 5 bytes.", MAC, 1, ADDRESS[:5])
TABLES = "a table's number of addresses is followed by as many"
_command("mac_table_of_too_many", "5.1.6.5.2.2", TABLES, "2^32 - 1 addresses, and one of them.", MAC, 0,
         struct.pack("<I6s", 0xffffffff, ADDRESS))
_command("mac_table_cut", "5.1.6.5.2.2", TABLES, "Two addresses, and one of them.", MAC, 0,
         struct.pack("<I6s", 2, ADDRESS))
_command("mac_table_without_multicast", "5.1.6.5.2.2", TABLES, "No second table.", MAC, 0, bytes(4))
_command("vlan_not_negotiated", "5.1.6.5.3", NEGOTIATED, "VLAN_ADD without CTRL_VLAN.", VLAN, 0, b"\5\0",
         without=net.CTRL_VLAN)
_command("vlan_out_of_range", "5.1.6.5.3", "a VLAN is one of 4096", "VLAN 65535.", VLAN, 0, b"\xff\xff")
_command("announce_not_negotiated", "5.1.6.5.4.1", NEGOTIATED, "ANNOUNCE_ACK without GUEST_ANNOUNCE.", ANNOUNCE, 0)
_command("announce_nobody_asked_for", "5.1.6.5.4.1", "what is acknowledged was asked for",
         "ANNOUNCE_ACK while the status has no such bit.", ANNOUNCE, 0, features=net.CTRL_ANNOUNCE)
PAIRS_RANGE = "pairs are 1 to what the device has"
for _name, _pairs in (("none", 0), ("one_too_many", PAIRS + 1), ("65535", 0xffff)):
    _command(f"pairs_{_name}", "5.1.6.5.6.1", PAIRS_RANGE, f"{_pairs} pairs of queues.", MQ, 0,
             _pairs.to_bytes(2, "little"))
_command("pairs_not_negotiated", "5.1.6.5.6.1", NEGOTIATED, "Pairs without MQ.", MQ, 0, b"\1\0", without=net.MQ)
_command("pairs_cut", "5.1.6.5.6.1", "a command has its data", "One byte of the number of pairs.", MQ, 0, b"\1")
_command("rss_not_negotiated", "5.1.6.5.7.1", NEGOTIATED, "RSS_CONFIG without RSS.", MQ, 1, bytes(64))
_command("hash_not_negotiated", "5.1.6.5.7.1", NEGOTIATED, "HASH_CONFIG without HASH_REPORT.", MQ, 2, bytes(64))
_command("offloads_not_negotiated", "5.1.6.5.8.1", NEGOTIATED, "GUEST_OFFLOADS_SET without the feature.", OFFLOADS, 0,
         bytes(8))
_command("offload_not_negotiated", "5.1.6.5.8.1", "an offload is switched on that was negotiated",
         "GUEST_TSO6, not negotiated.", OFFLOADS, 0, net.GUEST_TSO6.to_bytes(8, "little"),
         features=net.GUEST_OFFLOADS | net.GUEST_CSUM)
_command("offload_that_is_none", "5.1.6.5.8.1", "an offload is switched on that was negotiated",
         "A feature that was negotiated and is no offload.", OFFLOADS, 0, net.MQ.to_bytes(8, "little"),
         features=net.GUEST_OFFLOADS | net.GUEST_CSUM)
_command("coalescing_not_negotiated", "5.1.6.5.9.1", NEGOTIATED, "Class 6 of VIRTIO 1.3, NOTF_COAL.", COALESCE, 0,
         bytes(8))
_command("hash_tunnel_not_negotiated", "5.1.6.4.3.2", NEGOTIATED, "Class 7 of VIRTIO 1.3, HASH_TUNNEL.", HASH_TUNNEL,
         0, bytes(4))
_command("unknown_class", "5.1.6.5.1.2", NEGOTIATED, "Class 255.", 255, 255)


def _control(scene: Scene, parts: list[tuple[int, int, int]]) -> Outcome:
    """Buffers in the control queue; what is used is not looked at."""
    ring = scene.victim.rings[CONTROL]
    ring.request(parts)
    ring.ring()
    if scene.victim.needs_reset:
        return NEEDS_RESET
    return SERVED if ring.take() else IGNORED


@breaks("5.1.6.5.1.2", "a command has room for its answer", NEEDS_RESET)
def no_room_for_the_answer(scene: Scene) -> Outcome:
    """A command without a buffer that the device may write."""
    return _control(scene, [(scene.FREE, 3, 0)])


@breaks("5.1.6.5.1.2", "a command has a class and a command", SERVED)
def answer_alone(scene: Scene) -> Outcome:
    """Room for an answer, and no command."""
    outcome = _control(scene, [(scene.FREE, 1, WRITE)])
    scene.expect("answer", scene.memory.read(scene.FREE, 1), b"\1")
    return outcome


@breaks("5.1.6.5.2.2", TABLES, SERVED)
def command_of_gigabytes(scene: Scene) -> Outcome:
    """One MiB of memory named four thousand times over by an indirect table."""
    parts = [(0x100000, 1 << 20, 0)] * 4000 + [(scene.FREE, 1, WRITE)]
    ring = scene.victim.rings[CONTROL]
    for i, (address, length, flags) in enumerate(parts):
        more = 0 if scene.packed or i == len(parts) - 1 else 1
        ring.put(i, address, length, flags | more, i + 1 if more else 0, scene.TABLE)
    outcome = _control(scene, [(scene.TABLE, 16 * len(parts), 4)])
    scene.expect("answer", scene.memory.read(scene.FREE, 1), b"\1")
    return outcome


@breaks("5.1.6.5.6.1", "only the first pair is used before others are asked for", SERVED)
def packet_in_another_pair(scene: Scene) -> Outcome:
    """A packet in the second transmit queue, while one pair is in use."""
    ring = scene.victim.rings[3]
    ring.request(scene.victim.parts())
    ring.ring()
    scene.stage.drain_pairs()
    return SERVED if ring.take() else IGNORED


@breaks("5.1.6.5.6.1", "queues are configured before they are asked for", SERVED)
def pairs_without_queues(scene: Scene) -> Outcome:
    """Two pairs are asked for, of which one was never set up; then a doorbell of it."""
    scene.victim.start(ready=False)
    for queue in (2, 3):
        if not scene.pci:           # over PCI a queue that is set up stays so
            scene.write("queue_sel", queue)
            scene.write("queue_ready", 0)
    scene.victim.make_ready()
    outcome = scene.command(MQ, 0, b"\2\0")
    for queue in (2, 3):
        scene.write("queue_notify", queue)
    return outcome
