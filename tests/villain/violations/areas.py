"""Where a queue's three areas lie (VIRTIO 1.2, 2.7.1, 2.8.11, 6.1)."""

from __future__ import annotations

from ..scene import Scene
from ..stage import MEMORY
from ..table import KINDS, NEEDS_RESET, SERVED, breaks

ALIGNED = "areas are aligned"
AREAS = {"descriptor": "desc", "driver": "avail", "device": "used"}


def start(scene: Scene, size: int | None = None, **places: int) -> None:
    """Set the queue up anew, with its areas at these places; it is to be refused by `queue_ready` as well."""
    scene.expect("features", scene.accept(0), None)
    ring = scene.ring
    for name, at in places.items():
        setattr(ring, name, at)
    ring.size = ring.size if size is None else size
    scene.expect("queue_ready", scene.victim.place(ring), 0)


def _misplaced(what: str, area: str, section: str, rings: str, must: str, how: str, at: int) -> None:
    def do(scene: Scene) -> None:
        start(scene, **{AREAS[area]: at})
    do.__name__, do.__doc__ = f"{area}_area_{what}", f"The {area} area {how}."
    breaks(section, must, NEEDS_RESET, on=KINDS, rings=(rings,))(do)


for _rings, _section, _alignments in (("split", "2.7.1", (16, 2, 4)), ("packed", "2.8.11", (16, 4, 4))):
    for _area, _align in zip(AREAS, _alignments):
        _misplaced("askew", _area, _section, _rings, ALIGNED, f"is at an odd multiple of {_align // 2}",
                   Scene.FREE + _align // 2)
    for _area in AREAS:
        _misplaced("across_the_end", _area, "6.1", _rings, "queues lie in memory",
                   "reaches over the end of RAM, or begins there", MEMORY - (16 if _area == "descriptor" else 0))
        _misplaced("behind_all", _area, "6.1", _rings, "queues lie in memory", "reaches to 2^64, or over it",
                   (1 << 64) - (16 if _area == "descriptor" else 4))


@breaks("2.7.1", "the three areas are apart", SERVED, NEEDS_RESET, on=KINDS, rings=("split",))
def used_ring_over_the_descriptors(scene: Scene) -> None:
    """The used ring lies where the descriptors are."""
    scene.expect("features", scene.accept(0), None)
    scene.ring.used = scene.ring.desc
    scene.victim.place(scene.ring)
    scene.victim.make_ready()
    scene.send()
