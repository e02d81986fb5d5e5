"""Packets of a network card's (VIRTIO 1.2, 5.1.6)."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import cycle
from socket import MSG_DONTWAIT
from time import monotonic, sleep

from tests.villain.scene import RACE_S, Scene
from tests.villain.stage import MEMORY
from tests.villain.table import ANY, IGNORED, SERVED, Outcome
from tests.villain.victims import PATIENCE_S, Card, until
from tools.driver import WRITE
from vmm.devices.net_features import MRG_RXBUF
from vmm.devmodel.devices.net import ETHER_BYTES, HEADER_BYTES

from ..attack import attack

attack = partial(attack, on=("net",))
RECEIVE = 0                 # the queue
PATTERN = b"\xa5"
QUIET_S = 0.02              # in which nobody has anything to do
MOST_VISITS = 20            # meanwhile: a look now and then, and a change of hands
SMALL = 13                  # bytes of a receive buffer: a header, and one more
CONSECUTIVE = 0x800         # bytes from one receive buffer to the next
NUM_BUFFERS = slice(10, 12)


def _wait_for(scene: Scene, sizes: tuple[int, ...]) -> None:
    """Receive buffers of these sizes, full of a pattern."""
    ring = scene.victim.rings[RECEIVE]
    for i, size in enumerate(sizes):
        at = scene.FREE + CONSECUTIVE * i
        scene.memory.write(at, PATTERN * CONSECUTIVE)
        ring.request([(at, size, WRITE)], i)
    scene.write("queue_notify", RECEIVE)


def _received(scene: Scene) -> list[tuple[int, int]]:
    """What was used of the receive queue, once something was."""
    found: list[tuple[int, int]] = []

    def any_used() -> bool:
        found.extend(scene.victim.rings[RECEIVE].take())
        return bool(found)
    until(any_used, "packet")
    return found


def _empty_the_wire(scene: Scene) -> None:
    """Packets that nobody has received go, as a wire that was full lets none in before it is all but empty."""
    scene.write("status", 0)
    for each in scene.victim.device.backend.sockets:
        with suppress(BlockingIOError):
            while True:
                each.recv(1 << 16, MSG_DONTWAIT)


@attack("5.1.6.4", "a queue that lacks room is left alone until there is more", IGNORED, features=MRG_RXBUF)
def never_enough_buffers(scene: Scene) -> None:
    """Fewer mergeable buffers than a packet needs, while packets wait: then neither half has anything to do."""
    _wait_for(scene, (SMALL,) * 3)
    scene.victim.peer.send(Card.PACKET)
    sleep(QUIET_S)
    state = scene.victim.device.state.queue[RECEIVE]
    before = state.entry.sequence + state.user.sequence
    sleep(QUIET_S)
    visits = state.entry.sequence + state.user.sequence - before
    scene.expect(f"at most {MOST_VISITS} visits of the queue", visits <= MOST_VISITS, True)
    _empty_the_wire(scene)


@attack("5.1.6.4", "`num_buffers` counts what was filled", SERVED, features=MRG_RXBUF)
def packet_over_the_whole_queue(scene: Scene) -> Outcome:
    """A packet that fills every mergeable buffer of the queue, to the last byte."""
    size = -(-len(Card.PACKET) // scene.size)
    frame = Card.FRAME.ljust(SMALL * scene.size - HEADER_BYTES, b"x")
    scene.expect("a buffer has room for more than the packet that there is", size <= SMALL, True)
    _wait_for(scene, (SMALL,) * scene.size)
    scene.victim.peer.send(bytes(HEADER_BYTES) + frame)
    used = _received(scene)
    scene.expect("buffers used", used, [(i, SMALL) for i in range(scene.size)])
    packet = b"".join(scene.memory.read(scene.FREE + CONSECUTIVE * head, length) for head, length in used)
    scene.expect("the packet", (packet[NUM_BUFFERS], packet[HEADER_BYTES:]), (scene.size.to_bytes(2, "little"), frame))
    return SERVED


@attack("5.1.6.4", "buffers that were used are the driver's", *ANY, features=MRG_RXBUF)
def race_of_receive_buffers(scene: Scene) -> None:
    """Receive descriptors change while packets come: lengths, and addresses that leave RAM and come back."""
    ring = scene.victim.rings[RECEIVE]
    places = [scene.FREE + CONSECUTIVE * i for i in range(scene.size)]
    for at in (*places, MEMORY - 1):
        scene.memory.allow(at, min(CONSECUTIVE, MEMORY - at))
    turns = cycle([(0, (MEMORY - 1).to_bytes(8, "little")), (0, None), (8, b"\xff" * 4), (8, bytes(4)), (8, None)])

    def change() -> None:
        offset, value = next(turns)
        for i, at in enumerate(places):
            whole = at.to_bytes(8, "little") if offset == 0 else CONSECUTIVE.to_bytes(4, "little")
            scene.memory.write(ring.desc + 16 * i + offset, value or whole)

    def act() -> None:
        ring = scene.victim.rings[RECEIVE]
        if len(ring.take()) or ring.offered == 0:
            for i, at in enumerate(places[:scene.size // 2]):
                ring.request([(at, CONSECUTIVE, WRITE)], i)
        scene.write("queue_notify", RECEIVE)
        _send_what_goes(scene, 2)
    scene.race(change, act)
    _empty_the_wire(scene)


def _send_what_goes(scene: Scene, count: int) -> None:
    """Packets to the card, until there is no room on the wire."""
    scene.victim.peer.setblocking(False)
    try:
        with suppress(BlockingIOError):
            for _ in range(count):
                scene.victim.peer.send(Card.PACKET)
    finally:
        scene.victim.peer.settimeout(PATIENCE_S)


@attack("5.1.6.3", "packets that find no buffer harm nobody", SERVED)
def flood_without_buffers(scene: Scene) -> Outcome:
    """As many packets as the wire takes, over and over, while there are no receive buffers; then there are some."""
    deadline = monotonic() + RACE_S
    while monotonic() < deadline:
        _send_what_goes(scene, 64)
        scene.write("queue_notify", RECEIVE)
    _wait_for(scene, (CONSECUTIVE,) * scene.size)
    _send_what_goes(scene, 1)
    head, length = _received(scene)[0]
    scene.expect("the first packet", (head, length), (0, len(Card.PACKET)))
    _empty_the_wire(scene)
    return SERVED


@attack("5.1.6.4", "what is not written is not said to be used", SERVED)
def header_and_frame_alone(scene: Scene) -> Outcome:
    """A packet received into a buffer of a pattern: all of its header is written, and nothing behind its end."""
    _wait_for(scene, (CONSECUTIVE,))
    scene.victim.peer.send(Card.PACKET)
    head, length = _received(scene)[0]
    found = scene.memory.read(scene.FREE, CONSECUTIVE)
    scene.expect("used", (head, length), (0, len(Card.PACKET)))
    scene.expect("the frame", found[HEADER_BYTES:length], Card.FRAME)
    scene.expect("the header", found[:HEADER_BYTES], bytes(10) + b"\1\0")
    scene.expect("behind it", found[length:], PATTERN * (CONSECUTIVE - length))
    return SERVED


@attack("5.1.6.2", "frames without a whole Ethernet header are dropped", SERVED)
def short_frames(scene: Scene) -> None:
    """Frames of 0 to 13 bytes behind their header, one after the other; then one that is whole."""
    for length in range(ETHER_BYTES):
        scene.memory.write(scene.victim.SEND, Card.PACKET)
        scene.send([(scene.victim.SEND, HEADER_BYTES + length, 0)])
        scene.expect(f"buffers used of a frame of {length} bytes", len(scene.ring.take()), 1)
    scene.send()
    scene.expect("what is sent", scene.victim.peer.recv(2048), Card.PACKET)


@attack("5.1.6.2", "headers may lie in as many buffers as they like", SERVED)
def packet_by_single_bytes(scene: Scene) -> None:
    """A packet in descriptors of a byte each, in a table: its headers, too."""
    (at, size, _), = scene.victim.parts()
    scene.send([scene.table([(at + i, 1, 0) for i in range(size)])])
    scene.expect("what is sent", scene.victim.peer.recv(2048), Card.PACKET)
