"""A strategy's guest on QEMU, and what the strategy does where QEMU is one of those compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...devices.net_features import MRG_RXBUF
from ..driver import RINGS
from ..source import Source
from ..steps import Step, step
from ..strategy import Strategy, VirtioStrategy
from ..virtio_guest import FREE, VirtioGuest
from .guest import QemuGuest, guest_of
from .machine import QemuMachine
from .wire import Frames

COMPARED = ("blk", "net", "console", "rng")
MOST_PARTS = 8          # descriptors of one chain, about
FITS = 1600             # bytes that a packet fits into: one that fits into no buffers that are there, QEMU keeps until
                        # it does, and ours drops


@contextmanager
def opened(strategy: Strategy, ours: Any, setting: dict[str, Any], folder: Path) -> Iterator[QemuGuest]:
    """QEMU with the same device, and a guest for it."""
    config = strategy.machine("off", setting, folder)
    machine = QemuMachine(config, ours.device, folder)
    try:
        assert issubclass(strategy.guest, VirtioGuest)
        ends = strategy.ends(config)
        yield guest_of(strategy.guest)(machine, ours, *(map(Frames, ends) if config.nets else ends))
    finally:
        machine.close()


def next_step(strategy: Strategy, source: Source, ours: Any, qemu: Any) -> Step:
    """As the strategy has it, but for what would leave them incomparable for long."""
    assert isinstance(strategy, VirtioStrategy)
    if qemu.astray:
        return _agreed(strategy.setup(source, ours), qemu)
    found = strategy.next(source, ours)
    if found.kind == "setup":
        return _agreed(found, qemu)
    if found.kind == "buffer" and ours.device.accepted & MRG_RXBUF:
        return step("buffer", **{**found.given, "length": max(found.given["length"], FITS)})
    if found.kind == "alone" and found.given["split_at"]:      # which QEMU takes for a buffer (known.TABLE), and sends
        return step("alone", **{**found.given, "split_at": 0})
    in_rings = found.kind == "poke" and RINGS - 8 < found.given["at"] < FREE
    return step("ring", queue=found.given.get("queue", 0)) if in_rings or _too_many(found, ours) else found


def _agreed(setup: Step, qemu: QemuGuest) -> Step:
    """With features that both offer."""
    return step("setup", **{**setup.given, "features": setup.given["features"] & qemu.device.offered})


def _too_many(found: Step, ours: VirtioGuest) -> bool:
    """Whether a chain may need places of a packed ring that are the device's still."""
    queue = found.given.get("queue")
    if found.kind not in ("chain", "request") or queue is None or not ours.device.state.queue[queue].setup.packed:
        return False
    ring, position = ours.driver.rings[queue], ours.device.state.queue[queue].position
    waiting = (ring.place - (position.next_avail & 0x7fff)) % ring.size
    return waiting > 0 and waiting + MOST_PARTS > ring.size
