"""What the Python half of a virtio device does with its queues, recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

from ..device.recorded import VISIT, Recorder
from ..devmodel.recording import EventKind
from ..devmodel.uring import TagState
from ..virtqueue.uring import Uring
from ..virtqueue.virtqueue import UserQueue
from .virtio_device import VirtioDevice

SUBMIT, COMPLETE = int(EventKind.SUBMIT), int(EventKind.COMPLETE)


def watch(device: VirtioDevice, recorder: Recorder) -> None:
    """Record visits of its queues by Python, and what Python does with requests in flight."""
    serve = device._serve_held

    def serve_recorded(queue: UserQueue) -> None:
        began, before = monotonic_ns(), queue.state.user.handled
        serve(queue)
        recorder(VISIT, queue.index, queue.state.user.handled - before, began_ns=began)
    device._serve_held = serve_recorded     # type: ignore[method-assign]  # of this device alone
    for queue in device.queues:
        if queue.uring:
            _watch_ring(queue.uring, recorder, queue.index)


def _watch_ring(uring: Any, recorder: Recorder, queue: int) -> None:
    uring.completions, uring.resubmit = _completions(uring, recorder, queue), _resubmit(uring, recorder, queue)


def _request(tag: Any, index: int) -> int:
    """As io_uring knows it (user_data)."""
    return index | tag.serial << 32


def _completions(uring: Uring, recorder: Recorder, queue: int) -> Callable[[], Iterator[tuple]]:
    take = uring.completions

    def recorded() -> Iterator[tuple]:
        for tag, index, result in take():
            if tag.kind:        # else of no request: a favour of the handler's to the next one
                recorder(COMPLETE, queue, _request(tag, index))
            yield tag, index, result
    return recorded


def _resubmit(uring: Uring, recorder: Recorder, queue: int) -> Callable[[int], None]:
    submit = uring.resubmit

    def recorded(opcode: int) -> None:
        kept = list(uring.failed())
        submit(opcode)
        for tag, index in kept:
            if tag.state == TagState.FLYING:
                recorder(SUBMIT, queue, _request(tag, index))
    return recorded
