"""Buffers that go the wrong way, of a console and of the entropy device (VIRTIO 1.2, 5.3.6, 5.4.6)."""

from __future__ import annotations

from functools import partial

from tools.driver import WRITE
from vmm.devmodel.devices.console import RECEIVE

from ..scene import Scene
from ..table import NEEDS_RESET, SERVED, breaks
from ..victims import until

on_console, on_rng = partial(breaks, on=("console",)), partial(breaks, on=("rng",))
READABLE, WRITABLE = "no buffer to be read in a receive queue", "no buffer to be written in a transmit queue"


def _typed(scene: Scene, parts: list[tuple[int, int, int]]) -> None:
    """Buffers in the receive queue, and something typed at the other end."""
    scene.victim.rings[RECEIVE].request(parts)
    scene.write("queue_notify", RECEIVE)
    scene.victim.peer.send(b"typed")
    until(lambda: scene.victim.needs_reset, "need of a reset")


@on_console("5.3.6.1", READABLE, NEEDS_RESET)
def receive_buffer_to_be_read(scene: Scene) -> None:
    """A buffer in the receive queue that the device may not write."""
    _typed(scene, [(scene.FREE, 64, 0)])


@on_console("5.3.6.1", READABLE, NEEDS_RESET)
def receive_buffer_half_to_be_read(scene: Scene) -> None:
    """A buffer that the device may not write, and one that it may."""
    _typed(scene, [(scene.FREE, 64, 0), (scene.FREE + 64, 64, WRITE)])


@on_console("5.3.6.1", WRITABLE, NEEDS_RESET)
def output_to_be_written(scene: Scene) -> None:
    """A buffer in the transmit queue that the device may write."""
    scene.send([(scene.FREE, 64, WRITE)])


@on_console("5.3.6.1", WRITABLE, NEEDS_RESET)
def output_half_to_be_written(scene: Scene) -> None:
    """A buffer to be read, and one to be written."""
    scene.send([*scene.victim.parts(), (scene.FREE, 64, WRITE)])


@on_console("5.3.6.2.2", "control messages are sent where ports were negotiated", SERVED)
def queues_of_other_ports(scene: Scene) -> None:
    """The control queues, 2 and 3, are set up and rung; there are none."""
    for queue in (2, 3):
        scene.write("queue_sel", queue)
        scene.write("queue_num", 16)
        scene.write("queue_ready", 1)
        scene.expect("queue_ready", scene.read("queue_ready"), 0)
        scene.write("queue_notify", queue)
    scene.send()


@on_rng("5.4.6.1", "no buffer to be read", NEEDS_RESET)
def request_to_be_read(scene: Scene) -> None:
    """A buffer that the device may not write."""
    scene.send([(scene.FREE, 64, 0)])


@on_rng("5.4.6.1", "no buffer to be read", NEEDS_RESET)
def request_half_to_be_read(scene: Scene) -> None:
    """A buffer that the device may not write, and one that it may."""
    scene.send([(scene.FREE, 64, 0), (scene.FREE + 64, 64, WRITE)])
