"""Requests of a disk's (VIRTIO 1.2, 5.2.6)."""

from __future__ import annotations

from functools import partial

from tests.villain.scene import Scene
from tests.villain.stage import MEMORY
from tests.villain.table import ERROR, NEEDS_RESET, SERVED
from tools.driver import WRITE
from vmm.devmodel.devices.blk import ID_BYTES, SECTOR, RequestType

from ..attack import attack

SCSI_CMD, SCSI_CMD_OUT = 2, 3       # linux/virtio_blk.h; of legacy devices alone
CDB_BYTES, SENSE_BYTES, RESULT_BYTES = 16, 96, 16
PATTERN = b"\xa5"
MANY = 4096                         # bytes of a buffer that is larger than what is put into it


def _scsi(name: str, kind: int, what: str, writable: tuple[int, ...]) -> None:
    def do(scene: Scene) -> None:
        _, _, status = scene.victim.parts()
        scene.victim.header(kind, 0)
        command = [(scene.victim.HEADER, 16, 0), (scene.FREE, CDB_BYTES, 0)]
        answer = [(scene.FREE + 0x1000 * (i + 1), size, WRITE) for i, size in enumerate(writable)]
        scene.send([*command, *answer, status])
    do.__name__, do.__doc__ = name, f"Type {kind}, a command of 16 bytes, and {what}."
    attack("5.2.6", "commands of SCSI are passed on to nobody", ERROR)(do)


_scsi("scsi_command", SCSI_CMD, "room for data, sense and result", (SECTOR, SENSE_BYTES, RESULT_BYTES))
_scsi("scsi_command_without_room", SCSI_CMD, "a byte each in their place", (1, 1, 1))
_scsi("scsi_command_without_buffers", SCSI_CMD_OUT, "nothing but a status", ())


@attack("5.2.6", "what is not written is not said to be used", SERVED)
def identity_leaves_the_rest(scene: Scene) -> None:
    """A GET_ID with room for a page of a pattern: nothing of it changes but the identity."""
    _, _, status = scene.victim.parts()
    scene.victim.header(RequestType.GET_ID, 0)
    scene.memory.write(scene.FREE, PATTERN * MANY)
    scene.send([(scene.victim.HEADER, 16, 0), (scene.FREE, MANY, WRITE), status])
    scene.expect("behind the identity", scene.memory.read(scene.FREE + ID_BYTES, MANY - ID_BYTES),
                 PATTERN * (MANY - ID_BYTES))
    used = scene.ring.take()
    scene.expect("used bytes that were written", [length <= ID_BYTES for _, length in used], [True])
    return SERVED


def _at_the_end(scene: Scene, which: int, beyond: int) -> None:
    """A read of which one buffer ends so many bytes behind the end of RAM."""
    parts = scene.victim.parts()
    _, size, flags = parts[which]
    place = MEMORY - size + beyond
    if not flags & WRITE:
        scene.memory.write(place, scene.memory.read(parts[which][0], size - beyond))
    parts[which] = place, size, flags
    scene.send(parts)


for _which, _part in enumerate(("header", "data", "status")):
    for _beyond, _what, _answer in ((0, "in the last bytes of RAM", SERVED), (1, "a byte over the end", NEEDS_RESET)):
        _do = partial(_at_the_end, which=_which, beyond=_beyond)
        _do.__name__ = f"{_part}_{'at' if not _beyond else 'over'}_the_end"        # type: ignore[attr-defined]
        _do.__doc__ = f"A read whose {_part} lies {_what}."
        attack("6.1", "buffers lie in memory to their last byte", _answer)(_do)
