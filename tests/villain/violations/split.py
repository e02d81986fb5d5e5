"""What is of split rings alone (VIRTIO 1.2, 2.7.5 to 2.7.13)."""

from __future__ import annotations

from functools import partial

from tools.driver import EVENT_IDX, INDIRECT, NEXT

from ..scene import Scene
from ..table import IGNORED, KINDS, NEEDS_RESET, SERVED, breaks

breaks = partial(breaks, on=KINDS, rings=("split",))
LOOP = "a chain has no loop"


def _chain(scene: Scene, *followings: int) -> None:
    """Descriptors 0, 1, ... of the request's first buffer, each linked to the one that is told."""
    address, length, flags = scene.victim.parts()[0]
    for i, following in enumerate(followings):
        scene.ring.put(i, address, length, flags | NEXT, following)
    scene.ring.offer(0)
    scene.ring.ring()


@breaks("2.7.5.2", LOOP, NEEDS_RESET)
def loop_of_one(scene: Scene) -> None:
    """A descriptor linked to itself."""
    _chain(scene, 0)


@breaks("2.7.5.2", LOOP, NEEDS_RESET)
def loop_of_two(scene: Scene) -> None:
    """The second descriptor linked to the first."""
    _chain(scene, 1, 0)


@breaks("2.7.5.2", LOOP, NEEDS_RESET)
def loop_of_all(scene: Scene) -> None:
    """All descriptors of the queue in a circle."""
    _chain(scene, *((i + 1) % scene.size for i in range(scene.size)))


@breaks("2.7.5.2", LOOP, NEEDS_RESET)
def loop_in_a_table(scene: Scene) -> None:
    """The second entry of an indirect table linked to itself."""
    address, length, flags = scene.victim.parts()[0]
    for i in range(2):
        scene.ring.put(i, address, length, flags | NEXT, 1, scene.TABLE)
    scene.ring.put(0, scene.TABLE, 32, INDIRECT)
    scene.ring.offer(0)
    scene.ring.ring()


@breaks("2.7.5.2", "`next` is a descriptor of the table", NEEDS_RESET)
def next_behind_the_table(scene: Scene) -> None:
    """A descriptor linked to the one behind the last."""
    _chain(scene, scene.size)


@breaks("2.7.5.2", "`next` is a descriptor of the table", NEEDS_RESET)
def next_far_outside(scene: Scene) -> None:
    """A descriptor linked to number 65535."""
    _chain(scene, 0xffff)


@breaks("2.7.5.3.1", "`next` is a descriptor of the indirect table", NEEDS_RESET)
def next_behind_an_indirect_table(scene: Scene) -> None:
    """The only entry of an indirect table linked to one behind it."""
    address, length, flags = scene.victim.parts()[0]
    scene.ring.put(0, address, length, flags | NEXT, 1, scene.TABLE)
    scene.ring.put(1, address, length, flags, 0, scene.TABLE)
    scene.ring.put(0, scene.TABLE, 16, INDIRECT)
    scene.ring.offer(0)
    scene.ring.ring()


@breaks("2.7.6.1", "the avail ring holds heads of chains", NEEDS_RESET)
def head_outside_the_table(scene: Scene) -> None:
    """An avail entry that names the descriptor behind the last."""
    scene.ring.offer(scene.size)
    scene.ring.ring()


@breaks("2.7.6.1", "the avail index is not decremented", NEEDS_RESET)
def avail_index_back(scene: Scene) -> None:
    """A request is served, then the index goes back by one."""
    scene.send()
    scene.ring.take()
    scene.ring.offered -= 1
    scene.ring.publish()
    scene.ring.ring()


@breaks("2.7.6.1", "the avail index is not decremented", NEEDS_RESET)
def avail_index_below_zero(scene: Scene) -> None:
    """The index of a fresh ring is 65535."""
    scene.memory.write_u16(scene.ring.avail + 2, 0xffff)
    scene.ring.ring()


@breaks("2.7.6.1", "no more is available than the queue holds", NEEDS_RESET)
def avail_index_too_far(scene: Scene) -> None:
    """The index moves by one more than there are entries."""
    scene.ring.chain(scene.victim.parts())
    scene.memory.write_u16(scene.ring.avail + 2, scene.size + 1)
    scene.ring.ring()


@breaks("2.7.7.1", "avail flags are 0 or 1", SERVED)
def avail_flags_of_any_kind(scene: Scene) -> None:
    """All 16 flags of the avail ring are set."""
    scene.memory.write_u16(scene.ring.avail, 0xffff)
    scene.send()


@breaks("2.7.7.1", "avail flags are 0 where event indices were negotiated", SERVED, features=EVENT_IDX)
def avail_flags_with_event_indices(scene: Scene) -> None:
    """Interrupts are declined by the flag, and by the index as well."""
    scene.memory.write_u16(scene.ring.avail, 1)
    scene.ring.set_used_event(0xffff)
    scene.send()


@breaks("2.7.10.1", "used flags are 0 at first", SERVED)
def used_flags_not_zero(scene: Scene) -> None:
    """The used ring is not cleared before the queue is started."""
    scene.victim.start(ready=False)
    scene.memory.write(scene.ring.used, b"\xff\xff" + bytes(2) + b"\xff" * 8 * scene.size)
    scene.victim.make_ready()
    scene.send()


@breaks("2.7.10.1", "a doorbell is rung where the device asks for one", IGNORED)
def no_doorbell(scene: Scene) -> None:
    """A request without a doorbell."""
    scene.ring.request(scene.victim.parts())


@breaks("2.7.10.1", "a doorbell is rung where the device asks for one", SERVED, features=EVENT_IDX)
def doorbell_nobody_asked_for(scene: Scene) -> None:
    """A hundred doorbells for one request."""
    for _ in range(50):
        scene.ring.ring()
    scene.send()
    for _ in range(50):
        scene.ring.ring()


@breaks("2.7.13.3.1", "what is made available is written before the index", NEEDS_RESET)
def index_before_the_descriptors(scene: Scene) -> None:
    """The index moves and the doorbell rings; descriptors are written then, and it rings again."""
    scene.ring.offer(0)
    scene.ring.ring()
    scene.ring.chain(scene.victim.parts())
    scene.ring.ring()


@breaks("3.3.1", "descriptors of exposed buffers stay as they are", SERVED)
def descriptors_taken_back(scene: Scene) -> None:
    """A request that is available is replaced by another before the doorbell."""
    scene.ring.request([(scene.FREE, 1, 0)])
    scene.ring.chain(scene.victim.parts())
    scene.ring.ring()


@breaks("3.3.1", "what was exposed is not exposed again", SERVED)
def one_chain_twice(scene: Scene) -> None:
    """One head in two entries of the avail ring."""
    scene.ring.chain(scene.victim.parts())
    scene.ring.offer(0)
    scene.ring.offer(0)
    scene.ring.ring()
