"""Chains of buffers, of either kind of ring (VIRTIO 1.2, 2.7.4, 2.7.5, 2.8.17, 2.8.19, 6.1)."""

from __future__ import annotations

from tools.driver import INDIRECT, INDIRECT_DESC, NEXT, WRITE
from vmm.devmodel.devices.blk import RequestType

from ..scene import Scene
from ..stage import MEMORY
from ..table import ERROR, KINDS, NEEDS_RESET, SERVED, breaks

MMIO_PAGE = 0xd0000000      # guest-physical: a device's registers
BEHIND = 64                 # bytes of a buffer that lie behind the end of RAM
SEGMENTS = 4100             # of a MiB each: more than 2**32 bytes


@breaks("2.7.4.2", "buffers to be written come after those to be read", NEEDS_RESET, on=("blk",), rings=("split",))
@breaks("2.8.17", "buffers to be written come after those to be read", NEEDS_RESET, on=("blk",), rings=("packed",))
def data_before_the_header(scene: Scene) -> None:
    """The disk's data buffer comes first, then the header."""
    head, data, status = scene.victim.parts()
    scene.send([data, head, status])


@breaks("2.7.4.2", "buffers to be written come after those to be read", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.17", "buffers to be written come after those to be read", NEEDS_RESET, on=KINDS, rings=("packed",))
def written_before_read(scene: Scene) -> None:
    """A writable buffer comes before a sound request, and a readable one after it."""
    scene.send([(scene.FREE, 64, WRITE), *scene.victim.parts(), (scene.FREE + 64, 64, 0)])


@breaks("2.7.4.2", "buffers to be written come after those to be read", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.17", "buffers to be written come after those to be read", NEEDS_RESET, on=KINDS, rings=("packed",))
def written_before_read_in_a_table(scene: Scene) -> None:
    """The same in an indirect table."""
    scene.send([scene.table([(scene.FREE, 64, WRITE), *scene.victim.parts(), (scene.FREE + 64, 64, 0)])])


def _last_at(scene: Scene, address: int, length: int | None = None) -> None:
    """A sound request, but for where its last buffer is."""
    *parts, (_, size, flags) = scene.victim.parts()
    scene.send([*parts, (address, size if length is None else length, flags)])


ADDRESSES = "addresses of buffers are physical addresses of memory"


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def buffer_behind_ram(scene: Scene) -> None:
    """A buffer begins where RAM ends."""
    _last_at(scene, MEMORY)


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def buffer_across_the_end(scene: Scene) -> None:
    """A buffer reaches over the end of RAM."""
    _last_at(scene, MEMORY - BEHIND, 2 * BEHIND)


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def buffer_that_wraps(scene: Scene) -> None:
    """A buffer begins 16 bytes below 2^64, and ends behind it."""
    _last_at(scene, (1 << 64) - 16, 64)


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def buffer_in_registers(scene: Scene) -> None:
    """A buffer is where a device's registers are."""
    _last_at(scene, MMIO_PAGE)


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def buffer_of_4_gib(scene: Scene) -> None:
    """A buffer of 2^32 - 1 bytes."""
    _last_at(scene, scene.FREE, (1 << 32) - 1)


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def table_behind_ram(scene: Scene) -> None:
    """An indirect table reaches over the end of RAM."""
    scene.send([(MEMORY - 16, 32, INDIRECT)])


@breaks("6.1", ADDRESSES, NEEDS_RESET, on=KINDS)
def table_that_wraps(scene: Scene) -> None:
    """An indirect table reaches over 2^64."""
    scene.send([((1 << 64) - 16, 48, INDIRECT)])


@breaks("2.7.5.2", "a chain has no more than 2^32 bytes", ERROR, on=("blk",), rings=("split",))
@breaks("2.8.17", "a list is no longer than the device allows", ERROR, on=("blk",), rings=("packed",))
def more_than_4_gib(scene: Scene) -> None:
    """A read of the disk into the same MiB, thousands of times over."""
    head, _, status = scene.victim.parts()
    scene.send([scene.table([head, *[(MEMORY >> 1, MEMORY >> 1, WRITE)] * SEGMENTS, status], at=0x100000)])


@breaks("2.7.5.3.1", "no indirect descriptor unless that was negotiated", NEEDS_RESET, on=KINDS, rings=("split",),
        without=INDIRECT_DESC)
@breaks("2.8.19", "no indirect descriptor unless that was negotiated", NEEDS_RESET, on=KINDS, rings=("packed",),
        without=INDIRECT_DESC)
def indirect_not_negotiated(scene: Scene) -> None:
    """A sound request in an indirect table, without the feature."""
    scene.send([scene.table(scene.victim.parts())])


@breaks("2.7.5.3.1", "no indirect descriptor inside a table", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.19", "no flag but WRITE inside a table", NEEDS_RESET, on=KINDS, rings=("packed",))
def table_in_a_table(scene: Scene) -> None:
    """A table whose one entry refers to another table."""
    inner = scene.table(scene.victim.parts())
    scene.send([scene.table([inner], at=scene.TABLE + 0x1000)])


@breaks("2.7.5.3.1", "no indirect descriptor inside a table", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.19", "no flag but WRITE inside a table", NEEDS_RESET, on=KINDS, rings=("packed",))
def table_in_itself(scene: Scene) -> None:
    """A table whose one entry refers to the table."""
    scene.send([scene.table([(scene.TABLE, 16, INDIRECT)])])


@breaks("2.7.5.3.1", "not INDIRECT and NEXT in one descriptor", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.19", "no INDIRECT in a list linked by NEXT", NEEDS_RESET, on=KINDS, rings=("packed",))
def indirect_and_next(scene: Scene) -> None:
    """A table, linked to a further descriptor."""
    scene.send([scene.table(scene.victim.parts(), flags=NEXT), (scene.FREE, 64, WRITE)])


@breaks("2.8.19", "no INDIRECT in a list linked by NEXT", SERVED, on=KINDS, rings=("packed",))
def indirect_behind_direct(scene: Scene) -> None:
    """The first buffer directly, linked to a table with the rest of the request."""
    first, *rest = scene.victim.parts()
    scene.send([first, scene.table(rest or [(scene.FREE, 64, first[2])])])


def _table_of_length(scene: Scene, length: int) -> None:
    scene.send([scene.table(scene.victim.parts(), length=length)])


@breaks("2.7.5.3.1", "a table is of whole descriptors", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.19", "a table is of whole descriptors", NEEDS_RESET, on=KINDS, rings=("packed",))
def table_of_a_descriptor_and_a_half(scene: Scene) -> None:
    """A table whose length is no multiple of 16."""
    _table_of_length(scene, 24)


@breaks("2.7.5.3.1", "a table has a descriptor", NEEDS_RESET, on=KINDS, rings=("split",))
@breaks("2.8.19", "a table has a descriptor", NEEDS_RESET, on=KINDS, rings=("packed",))
def table_of_nothing(scene: Scene) -> None:
    """A table of no bytes."""
    _table_of_length(scene, 0)


@breaks("2.7.5.3.1", "a chain is not longer than the queue", SERVED, on=KINDS, rings=("split",))
@breaks("2.8.19", "a chain is not longer than the device allows", SERVED, on=KINDS, rings=("packed",))
def table_longer_than_the_queue(scene: Scene) -> None:
    """A sound request cut into more buffers than the queue has entries."""
    parts = [(at + i, 1, flags) for at, size, flags in scene.victim.parts() for i in range(size)]
    scene.send([scene.table(parts)])


@breaks("5.2.6.1", "a request has a header and a status", NEEDS_RESET)
def no_status(scene: Scene) -> None:
    """A header, and nothing that the device may write."""
    scene.send(scene.victim.parts()[:1])


@breaks("5.2.6.1", "a request has a header and a status", NEEDS_RESET)
def short_header(scene: Scene) -> None:
    """A header of 15 bytes."""
    (at, _, _), *rest = scene.victim.parts()
    scene.victim.header(RequestType.IN, 1)
    scene.send([(at, 15, 0), *rest])
