"""Rings, and the registers that doorbells are among."""

from __future__ import annotations

from time import sleep

from tests.villain.scene import Scene
from tests.villain.stage import MEMORY
from tests.villain.table import KINDS, NEEDS_RESET, SERVED, Outcome
from tools.driver import WRITE
from vmm.devmodel.devices.blk import RequestType
from vmm.devmodel.layout import PAGE
from vmm.virtio.virtio_pci import DOORBELLS

from ..attack import attack

PATTERN = 0x5a
QUIET_S = 0.01          # in which whoever is late would come
ROUNDS = 3
RING_BYTES = 0x3000     # guest memory from a queue's first area to the end of its last (tools.driver)


@attack("2.4", "a device that was reset writes nothing", SERVED, on=KINDS)
def used_ring_after_a_reset(scene: Scene) -> Outcome:
    """Requests are made, the device is reset at once, and what lies in the rings' place then stays as it is."""
    for i in range(4):
        scene.ring.request(scene.victim.parts(), 4 * i)
    scene.registers.write("queue_notify", scene.ring.index)
    scene.write("status", 0)
    wanted = bytes([PATTERN]) * RING_BYTES
    scene.memory.write(scene.ring.desc, wanted)
    sleep(QUIET_S)
    scene.expect("the rings' place", scene.memory.read(scene.ring.desc, RING_BYTES) == wanted, True)
    return SERVED


@attack("2.8.6", "a chain may take all of the ring", SERVED)
def chain_of_the_whole_ring(scene: Scene) -> Outcome:
    """A read of as many buffers as the ring has descriptors, again and again."""
    (header, size, _), _, status = scene.victim.parts()
    pieces = scene.size - 2
    parts = [(header, size, 0), *[(scene.victim.DATA + 512 * i, 512, WRITE) for i in range(pieces)], status]
    for _ in range(ROUNDS):
        scene.victim.header(RequestType.IN, 1)
        scene.send(parts)
        scene.expect("used", scene.ring.take(), [(0, 512 * pieces + 1)])
        scene.expect("the last sector", scene.memory.read(scene.victim.DATA + 512 * (pieces - 1), 8),
                     pieces.to_bytes(8, "little"))
    return SERVED


@attack("6.1", "an indirect table lies in memory to its last entry", NEEDS_RESET, on=KINDS)
def table_that_ends_before_its_end(scene: Scene) -> None:
    """A sound request in the last bytes of RAM, in a table that is an entry longer, which no entry leads to."""
    parts = scene.victim.parts()
    scene.send([scene.table(parts, length=16 * (len(parts) + 1), at=MEMORY - 16 * len(parts))])


@attack("4.2.2", "an access of two pages is of neither's registers alone", SERVED, on=KINDS)
def writes_over_two_pages(scene: Scene) -> None:
    """Writes that begin before a page of the device's registers, or end behind it; whole, and in the two pieces that
    KVM makes of them."""
    place, machine = scene.victim.device.place, scene.stage.machine
    pages = [0, PAGE, DOORBELLS, DOORBELLS + PAGE] if scene.pci else [0]
    for edge in (place.base + page for page in pages):
        for width in (2, 4, 8):
            for before in range(1, width):
                machine.guest_write(place.bus, edge - before, width, 0)
                for at, size in ((edge - before, before), (edge, width - before)):
                    if size in (1, 2, 4, 8):
                        machine.guest_write(place.bus, at, size, 0)
                machine.guest_read(place.bus, edge - before, width)
    scene.victim.again()
    scene.send()
