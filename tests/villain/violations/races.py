"""A second vCPU changes what the device is about to use, between its check and its use (VIRTIO 1.2, 2.8.16, 3.3.1,
4.1.4.3.2, 4.2.2.2, 2.7.6.1).  Any answer will do: it is nothing else that must change."""

from __future__ import annotations

from itertools import cycle

from tools.driver import INDIRECT, NEXT, WRITE

from ..scene import Scene
from ..stage import MEMORY
from ..table import ANY, KINDS, breaks

SPLIT, PACKED = ("split",), ("packed",)
ALTERED = "descriptors of exposed buffers stay as they are"
MOST_USED = 1024        # bytes of a request here
BAD_LENGTHS = (0xffffffff, 0, 1)
BAD_ADDRESSES = (MEMORY - 1, (1 << 64) - 8, 0xd0000000)
BAD_FLAGS = (INDIRECT, NEXT, WRITE, NEXT | INDIRECT, 0)
ADDRESS, LENGTH, FLAGS, FOLLOWING = 0, 8, 12, 14        # in a descriptor; a packed ring's ends with id, flags


def _requests(scene: Scene, change) -> None:
    """Sound requests, while another vCPU does `change`."""
    def act() -> None:
        scene.ring.request(scene.victim.parts())
        scene.ring.ring()
        scene.ring.take()
    scene.race(change, act)


def _bytes_at(scene: Scene, places: list[int], offset: int, values, width: int):
    """Writes each of the values in turn into these descriptors."""
    turns = cycle(value & (1 << 8 * width) - 1 for value in values)

    def change() -> None:
        value = next(turns).to_bytes(width, "little")
        for at in places:
            scene.memory.write(at + offset, value)
    return change


def _allow_what_may_come(scene: Scene) -> None:
    """Where flags change, each buffer is one to be written, of as many bytes as a used descriptor says (2.8.6); where
    addresses do, a buffer may be the last byte of RAM."""
    for address, _, _ in scene.victim.parts():
        scene.memory.allow(address, MOST_USED)
    scene.memory.allow(MEMORY - 1, 1)


def _places(scene: Scene) -> list[int]:
    """All descriptors of the ring: whichever is in use is changed."""
    return [scene.ring.desc + 16 * i for i in range(scene.size)]


def _descriptor(name: str, how: str, offset: int, values: tuple[int, ...], width: int, rings: tuple[str, ...]) -> None:
    def do(scene: Scene) -> None:
        address, length, flags = scene.victim.parts()[-1]
        _allow_what_may_come(scene)
        sound = {ADDRESS: address, LENGTH: length, FLAGS: flags}.get(offset, 0)
        _requests(scene, _bytes_at(scene, _places(scene), offset, (*values, sound), width))
    do.__name__, do.__doc__ = f"race_of_{name}", how
    breaks("3.3.1" if rings == SPLIT else "2.8.16", ALTERED, *ANY, on=KINDS, rings=rings)(do)


for _rings in (SPLIT, PACKED):
    _descriptor("length", "Lengths become 2^32 - 1, 0 and 1, and what they were.", LENGTH, BAD_LENGTHS, 4, _rings)
    _descriptor("address", "Addresses leave RAM and come back.", ADDRESS, BAD_ADDRESSES, 8, _rings)
_descriptor("flags", "Flags become of every kind.", FLAGS, BAD_FLAGS, 2, SPLIT)
_descriptor("flags", "Flags become of every kind, available and not.", FOLLOWING,
            tuple(flags | more for flags in BAD_FLAGS for more in (0, 1 << 7, 1 << 15, 1 << 7 | 1 << 15)), 2, PACKED)
_descriptor("next", "`next` becomes the descriptor's own, and far outside.", FOLLOWING, (0, 0xffff, 16, 1), 2, SPLIT)
_descriptor("id", "Ids become of every kind.", FLAGS, (0xffff, 0x8000, 17), 2, PACKED)


@breaks("2.7.6.1", "the avail index is not decremented", *ANY, on=KINDS, rings=SPLIT)
def race_of_avail_index(scene: Scene) -> None:
    """The avail index goes forward and back."""
    turns = cycle((1, 9, 17, 0xffff, 0))

    def change() -> None:
        scene.memory.write_u16(scene.ring.avail + 2, scene.ring.offered + next(turns) & 0xffff)
    _requests(scene, change)


@breaks("2.7.13.3.1", "what is made available is written before the index", *ANY, on=KINDS, rings=SPLIT)
def race_of_head(scene: Scene) -> None:
    """Entries of the avail ring become of every kind."""
    turns = cycle((0xffff, 16, 15, 0))

    def change() -> None:
        head = next(turns)
        for i in range(scene.size):
            scene.memory.write_u16(scene.ring.avail + 4 + 2 * i, head)
    _requests(scene, change)


def _in_a_table(scene: Scene, change) -> None:
    def act() -> None:
        scene.ring.request([scene.table(scene.victim.parts())])
        scene.ring.ring()
        scene.ring.take()
    scene.race(change, act)


@breaks("2.7.5.3.1", "an exposed table stays as it is", *ANY, on=KINDS, rings=SPLIT)
@breaks("2.8.19", "an exposed table stays as it is", *ANY, on=KINDS, rings=PACKED)
def race_of_a_table(scene: Scene) -> None:
    """Entries of an indirect table change while it is walked: lengths, addresses, flags."""
    places = [scene.TABLE + 16 * i for i in range(3)]
    _allow_what_may_come(scene)
    changes = [_bytes_at(scene, places, offset, values, width) for offset, values, width in (
        (LENGTH, BAD_LENGTHS, 4), (ADDRESS, BAD_ADDRESSES, 8), (FOLLOWING if scene.packed else FLAGS, BAD_FLAGS, 2))]

    def change() -> None:
        for each in changes:
            each()
    _in_a_table(scene, change)


def _of_request(scene: Scene, at: int, values: tuple[bytes, ...]) -> None:
    turns = cycle(values)
    _requests(scene, lambda: scene.memory.write(at, next(turns)))


@breaks("3.3.1", "exposed buffers stay as they are", *ANY)
def race_of_a_disk_request(scene: Scene) -> None:
    """Type and sector of a read change: to a sector behind the end, and to types that do not write."""
    _of_request(scene, scene.victim.HEADER, tuple(
        kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little")
        for kind, sector in ((0, 1), (0, 1 << 60), (8, 1), (4, 0), (99, 1), (0, 255))))


@breaks("3.3.1", "exposed buffers stay as they are", *ANY, on=("net",))
def race_of_a_packet(scene: Scene) -> None:
    """A packet's header changes while it is sent."""
    _of_request(scene, scene.victim.SEND, (bytes(12), b"\xff" * 12, b"\1\1" + bytes(10)))


def _registers(section: str, transport: str, registers: tuple[str, ...]) -> None:
    @breaks(section, "fields of a queue are left alone while it is enabled", *ANY, on=KINDS, transports=(transport,))
    def race_of_queue_registers(scene: Scene) -> None:
        """Size and places of the queue are written, and the queue started again."""
        scene.write("queue_sel", scene.victim.QUEUE)
        turns = cycle([(name, value) for name in registers for value in (0, 0xffff)] + [("queue_ready", 1)])
        _requests(scene, lambda: scene.write(*next(turns)))


_registers("4.2.2.2", "mmio", ("queue_num", "queue_desc_low", "queue_driver_low", "queue_device_high"))
_registers("4.1.4.3.2", "pci", ("queue_num", "queue_desc_low", "queue_driver_low", "queue_device_high"))


@breaks("4.2.2.2", "a queue is stopped by 0, which is read back", *ANY, on=KINDS, transports=("mmio",))
def race_of_queue_ready(scene: Scene) -> None:
    """The queue is stopped and started, at other places than the driver's, while requests are made."""
    scene.write("queue_sel", scene.victim.QUEUE)
    turns = cycle((("queue_ready", 0), ("queue_num", 4), ("queue_desc_low", scene.FREE),
                   ("queue_driver_low", scene.FREE + 0x1000), ("queue_device_low", scene.FREE + 0x2000),
                   ("queue_ready", 1)))
    scene.memory.allow(scene.FREE, 0x3000)
    _requests(scene, lambda: scene.write(*next(turns)))


@breaks("2.4.2", "a reset is over when the status reads 0", *ANY, on=KINDS)
def race_of_reset(scene: Scene) -> None:
    """The device is reset, and said to be ready, while requests are made."""
    turns = cycle((0, 15, 11, 15))
    _requests(scene, lambda: scene.write("status", next(turns)))


@breaks("3.1.1", "no doorbell is rung before DRIVER_OK", *ANY, on=KINDS)
def race_of_doorbells(scene: Scene) -> None:
    """Another vCPU rings all queues while the device is reset and set up."""
    queues = cycle(range(len(scene.victim.device.queue_sizes)))

    def act() -> None:
        scene.victim.start()
        scene.ring.request(scene.victim.parts())
        scene.ring.ring()
    scene.race(lambda: scene.write("queue_notify", next(queues)), act)
