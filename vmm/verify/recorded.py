"""What a guest did with a register device, out of a recording, as steps: its accesses, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..devmodel.exit_path import Half
from ..devmodel.recording import EventKind
from ..errors import UserError
from ..tracefile.reader import Gap, Happened, Reader
from .steps import Step, step


def is_recording(path: Path) -> bool:
    """Whether a file is no text: a sequence is some."""
    try:
        with path.open("rb") as file:
            return file.read(1) > b"\x7f"
    except OSError:
        return False        # which is told when it is read


def steps_of(path: Path, schema: str) -> list[Step]:
    """All accesses of the one device with this schema.  Raises UserError for what cannot be played again."""
    events = list(Reader(path))
    if missing := sum(event.dropped for event in events if isinstance(event, Gap)):
        raise UserError(f"{path}: {missing:,} events were dropped; wanted all that the guest did")
    of_it = [event for event in events if isinstance(event, Happened) and event.device.schema == schema]
    names = sorted({event.device.name for event in of_it})
    if len(names) != 1:
        raise UserError(f"{path}: events of {len(names)} devices with the schema {schema}; wanted one such device")
    if of_it[0].device.queues:
        raise UserError(f"{path}: {names[0]} has queues, and what they were of, guest memory, is not recorded; wanted "
                        "a device without")
    return list(_steps(of_it))


def _steps(events: Iterable[Happened]) -> Iterator[Step]:
    """Each access once: Python has a write again that a handler declined."""
    declined: Counter[tuple[int, int, int]] = Counter()
    for event in events:
        access = event.offset, event.width, event.value
        if event.kind is EventKind.DECLINE:
            declined[access] += 1
        elif event.kind is EventKind.WRITE and event.half is Half.PYTHON and declined[access]:
            declined[access] -= 1
        elif event.kind is EventKind.WRITE:
            yield step("write_at", offset=event.offset, width=event.width, value=event.value)
        elif event.kind is EventKind.READ:
            yield step("read_at", offset=event.offset, width=event.width)
