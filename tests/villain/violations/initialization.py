"""Status, the order of set-up, and what a driver does before and after it (VIRTIO 1.2, 2.1, 2.4 to 2.6, 3)."""

from __future__ import annotations

from functools import partial

from tools.driver import ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK
from vmm.virtio.virtio_device import RING_PACKED, VERSION_1

from ..scene import Scene
from ..stage import MEMORY
from ..table import IGNORED, KINDS, NEEDS_RESET, REFUSED, SERVED, breaks

LIVE = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
FAILED = 128
IN_ORDER = 1 << 35      # which is not offered
on_all = partial(breaks, on=KINDS)


@on_all("2.1.1", "no status bit is cleared", IGNORED)
def driver_ok_cleared(scene: Scene) -> None:
    """DRIVER_OK goes, then a request."""
    scene.write("status", LIVE & ~DRIVER_OK)
    scene.send()


@on_all("2.1.1", "no status bit is cleared", SERVED)
def features_ok_cleared(scene: Scene) -> None:
    """FEATURES_OK goes, then a request."""
    scene.write("status", LIVE & ~FEATURES_OK)
    scene.send()


@on_all("2.1.1", "no status bit is cleared", SERVED)
def acknowledge_cleared(scene: Scene) -> None:
    """ACKNOWLEDGE and DRIVER go, then a request."""
    scene.write("status", FEATURES_OK | DRIVER_OK)
    scene.send()


@on_all("2.1.1", "no status bit is cleared", NEEDS_RESET)
def needs_reset_cleared(scene: Scene) -> None:
    """The device needs a reset; the driver writes a status without that bit, and goes on."""
    scene.send([(MEMORY, 64, 0)])
    scene.write("status", LIVE)
    scene.send()


@on_all("2.1.1", "no status bit is cleared", SERVED)
def driver_ok_toggled(scene: Scene) -> None:
    """DRIVER_OK goes and comes while a request waits."""
    scene.ring.request(scene.victim.parts())
    scene.write("status", LIVE & ~DRIVER_OK)
    scene.write("status", LIVE)


@on_all("2.1.1", "after FAILED a reset comes before all else", SERVED)
def failed_and_on(scene: Scene) -> None:
    """FAILED is set, and the driver goes on."""
    scene.write("status", LIVE | FAILED)
    scene.send()


@on_all("2.1.1", "the status tells of steps that were done", SERVED)
def undefined_status_bits(scene: Scene) -> None:
    """Bits that the status does not have."""
    scene.write("status", LIVE | 0x30)
    scene.send()


@on_all("2.5.1", "configuration of a feature that is not there is not read", SERVED)
def configuration_of_no_feature(scene: Scene) -> None:
    """The whole of device configuration, and what lies behind it, is read in every width."""
    at = scene.victim.device.transport.config
    for width in (1, 2, 4, 8):
        for offset in range(at, at + 0x100, width):
            scene.registers.read_at(offset, width)
    scene.send()


@on_all("2.6.1", "a queue is reset where that was negotiated", SERVED)
def queue_reset_not_negotiated(scene: Scene) -> None:
    """`queue_reset` is written nevertheless."""
    scene.write("queue_sel", scene.victim.QUEUE)
    scene.write_nothing("queue_reset", 1)
    scene.send()


@on_all("2.4.2", "a reset is over when the status reads 0", SERVED)
def no_wait_for_the_reset(scene: Scene) -> None:
    """Requests wait, and the device is reset and set up again without a look at the status, many times."""
    for _ in range(5):
        for head in range(4):
            scene.ring.request(scene.victim.parts()[:1], 4 * head)
        scene.victim.start()
    scene.send()


# the order of set-up

SEQUENCE = "the steps of initialization come in their order"


@on_all("3.1.1", SEQUENCE, NEEDS_RESET)
def queue_before_features_ok(scene: Scene) -> None:
    """A queue is started before FEATURES_OK."""
    scene.write("status", 0)
    scene.write("status", ACKNOWLEDGE | DRIVER)
    scene.victim.place(scene.ring)


@on_all("3.1.1", SEQUENCE, NEEDS_RESET)
def driver_ok_at_once(scene: Scene) -> None:
    """DRIVER_OK after a reset and nothing else, a queue and a request."""
    scene.write("status", 0)
    scene.write("status", DRIVER_OK)
    scene.victim.place(scene.ring)
    scene.send()


@on_all("3.1.1", SEQUENCE, SERVED)
def no_acknowledge(scene: Scene) -> None:
    """Neither ACKNOWLEDGE nor DRIVER is ever set."""
    scene.write("status", 0)
    for window in (0, 1):
        scene.write("driver_features_sel", window)
        scene.write("driver_features", (scene.victim.features | VERSION_1) >> 32 * window & 0xffffffff)
    for bits in (FEATURES_OK, FEATURES_OK | DRIVER_OK):
        scene.write("status", bits)
        if not bits & DRIVER_OK:
            scene.victim.rings = [scene.victim._start_queue(i) for i in range(len(scene.victim.device.queue_sizes))]
    scene.send()


@on_all("3.1.1", SEQUENCE, SERVED)
def no_reset_first(scene: Scene) -> None:
    """The device is live, and is set up again without a reset: features, queues, DRIVER_OK."""
    for bits in (ACKNOWLEDGE, ACKNOWLEDGE | DRIVER, LIVE & ~DRIVER_OK):
        scene.write("status", bits)
    scene.victim.place(scene.ring)
    scene.write("status", LIVE)
    scene.send()


@on_all("3.1.1", "a driver whose features are refused stops", NEEDS_RESET)
def on_after_refusal(scene: Scene) -> None:
    """The device refuses the features; the driver starts a queue nevertheless, and sends a request."""
    scene.expect("in-order", scene.accept(IN_ORDER), REFUSED)
    scene.victim.place(scene.ring)
    scene.write("status", LIVE)
    scene.send()


@on_all("3.1.1", "no feature is accepted after FEATURES_OK", SERVED)
def features_after_features_ok(scene: Scene) -> None:
    """The other kind of ring is accepted when queues are there, and everything else."""
    for window in (0, 1):
        scene.write("driver_features_sel", window)
        scene.write("driver_features", 0xffffffff if scene.ring.__class__ is scene.victim.SPLIT else 0)
    scene.write("status", LIVE)
    scene.send()
    scene.expect("packed", bool(scene.victim.device.accepted & RING_PACKED), scene.packed)
    scene.expect("accepted", scene.victim.device.accepted & ~scene.victim.device.offered, 0)


@on_all("3.1.1", "configuration is not written before FEATURES_OK", SERVED)
def configuration_before_features_ok(scene: Scene) -> None:
    """Zeros and ones all over device configuration, between DRIVER and FEATURES_OK."""
    scene.write("status", 0)
    scene.write("status", ACKNOWLEDGE | DRIVER)
    for value in (0, 0xffffffff):
        scene.write_configuration(4, value)
    scene.victim.start()
    scene.send()


@on_all("3.1.1", "no doorbell is rung before DRIVER_OK", IGNORED)
def doorbell_before_driver_ok(scene: Scene) -> None:
    """A request and a doorbell, and no DRIVER_OK."""
    scene.victim.start(ready=False)
    scene.send()


@on_all("3.1.1", "no doorbell is rung before DRIVER_OK", SERVED)
def doorbell_before_and_then_driver_ok(scene: Scene) -> None:
    """A request and a doorbell, then DRIVER_OK, and no further doorbell."""
    scene.victim.start(ready=False)
    scene.send()
    scene.victim.make_ready()
    scene.victim.settle()


@on_all("3.1.1", "no doorbell is rung before DRIVER_OK", IGNORED)
def doorbell_after_a_reset(scene: Scene) -> None:
    """Doorbells of a device that was reset and has no queues."""
    scene.write("status", 0)
    scene.ring.request(scene.victim.parts())
    for queue in range(4):
        scene.write("queue_notify", queue)


@on_all("3.3.1", "exposed buffers are not taken away from a live queue", IGNORED)
def rings_cleared(scene: Scene) -> None:
    """The memory of all rings is cleared while the queue is live, then the doorbell rings."""
    scene.send()
    scene.ring.take()
    scene.ring.request(scene.victim.parts(), 4)
    scene.memory.write(scene.ring.desc, bytes(16 * scene.size))
    if not scene.packed:
        scene.memory.write_u16(scene.ring.avail + 2, 1)
    scene.ring.ring()


@on_all("3.3.1", "exposed buffers are not taken away from a live queue", NEEDS_RESET)
def rings_of_ones(scene: Scene) -> None:
    """All bits of the descriptors (in a packed ring, but for that which says that they are used) and of the driver
    area are set while the queue is live, then the doorbell rings."""
    scene.memory.write(scene.ring.desc, (b"\xff" * 15 + (b"\x7f" if scene.packed else b"\xff")) * scene.size)
    scene.memory.write(scene.ring.avail, b"\xff" * 4)
    scene.ring.ring()
