"""What is of packed rings alone (VIRTIO 1.2, 2.8)."""

from __future__ import annotations

from functools import partial

from tools.driver import EVENT_IDX, INDIRECT, NEXT

from ..scene import Scene
from ..table import IGNORED, KINDS, NEEDS_RESET, SERVED, breaks

breaks = partial(breaks, on=KINDS, rings=("packed",))
RESERVED = 3        # of the event flags (2.8.10)


@breaks("2.8.17", "a list is not longer than the queue", NEEDS_RESET)
def list_without_an_end(scene: Scene) -> None:
    """Each descriptor of the ring is available and linked to the next."""
    address, length, flags = scene.victim.parts()[0]
    for i in range(scene.size):
        scene.ring.put(i, address, length, flags | NEXT | scene.ring.mark())
    scene.ring.ring()


@breaks("2.8.17", "there is space for a whole list before its first descriptor is available", SERVED)
def first_before_the_rest(scene: Scene) -> None:
    """The first descriptor of a list is available, the others are written and are not."""
    parts = scene.victim.parts()
    if len(parts) == 1:
        address, length, flags = parts[0]
        parts = [(address, 1, flags), (address + 1, length - 1, flags)]
    for i, (address, length, flags) in reversed(list(enumerate(parts))):
        more = NEXT if i < len(parts) - 1 else 0
        scene.ring.put(i, address, length, flags | more | (scene.ring.mark() if i == 0 else 0))
    scene.ring.slots[0] = len(parts)
    scene.ring.ring()


@breaks("2.8.16", "a descriptor that is available is not changed", SERVED)
def descriptor_changed(scene: Scene) -> None:
    """A request that is available is replaced by another before the doorbell."""
    scene.ring.request([(scene.FREE, 1, 0)])
    scene.ring.place, scene.ring.wrap = 0, True
    scene.ring.request(scene.victim.parts())
    scene.ring.ring()


@breaks("2.8.16", "a descriptor that is available is not changed", IGNORED)
def descriptor_taken_back(scene: Scene) -> None:
    """A request that is available is so no more when the doorbell rings."""
    scene.ring.request(scene.victim.parts())
    scene.ring.show(0, 0)
    scene.ring.ring()


@breaks("2.8.16", "a descriptor is not changed before it is used", IGNORED)
def ring_overrun(scene: Scene) -> None:
    """More requests than the ring has places, of which each is written over the one before it."""
    for i in range(scene.size + 2):
        scene.ring.request(scene.victim.parts(), i)
    scene.ring.ring()


@breaks("2.8.19", "no flag but WRITE inside a table", SERVED)
def flags_in_a_table(scene: Scene) -> None:
    """NEXT, AVAIL, USED and reserved flags in an indirect table."""
    odd = 0xfff8 | NEXT
    scene.send([scene.table([(at, length, flags | odd) for at, length, flags in scene.victim.parts()])])


@breaks("2.8.10", "the driver's event area holds what it is for", SERVED)
def reserved_event_flags(scene: Scene) -> None:
    """The driver's event flags are the reserved value."""
    scene.ring.set_event(RESERVED)
    scene.send()


@breaks("2.8.10", "the driver's event area holds what it is for", SERVED, features=EVENT_IDX)
def event_of_no_descriptor(scene: Scene) -> None:
    """An interrupt is asked for at a place that the ring does not have."""
    scene.ring.set_event(scene.ring.AT_DESCRIPTOR, 0x7fff)
    scene.send()


@breaks("2.8.10", "the driver's event area holds what it is for", SERVED)
def event_index_not_negotiated(scene: Scene) -> None:
    """An interrupt is asked for at a descriptor, without the feature."""
    scene.ring.set_event(scene.ring.AT_DESCRIPTOR, 3)
    scene.send()


@breaks("2.8.21.1.1", "a list is written before the flags that make it available", NEEDS_RESET)
def flags_before_the_descriptor(scene: Scene) -> None:
    """Flags that make a descriptor of zeros available, a doorbell, then the request in its place."""
    scene.ring.show(0, scene.ring.mark())
    scene.ring.ring()
    scene.send()


@breaks("2.8.21.1.1", "a list is written before the flags that make it available", NEEDS_RESET)
def table_of_zeros(scene: Scene) -> None:
    """A list is available whose indirect table has yet to be written."""
    scene.memory.write(scene.TABLE, bytes(64))
    scene.send([(scene.TABLE, 64, INDIRECT)])


@breaks("2.8.16", "each request that is available has an id of its own", SERVED)
def one_id_twice(scene: Scene) -> None:
    """Two requests with the same id."""
    for _ in range(2):
        scene.ring.request(scene.victim.parts(), 0xffff)
    scene.ring.ring()
