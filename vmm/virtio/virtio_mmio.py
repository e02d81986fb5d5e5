"""virtio over MMIO, version 2 (VIRTIO 1.2, section 4.2)."""

from __future__ import annotations

from ..devmodel.devices.virtio_mmio import CONFIG, VirtioMmio
from ..sync._shared import lib
from .transport import Transport
from .virtio_device import VirtioDevice

USED_BUFFER, CONFIG_CHANGE = 1, 2       # interrupt status, 4.2.2

_POSTED = ("queue_num", "queue_desc_low", "queue_desc_high", "queue_driver_low",
           "queue_driver_high", "queue_device_low", "queue_device_high")


class MmioTransport(Transport):
    """One page of registers, and one interrupt line, whose cause is in a register."""

    schema = VirtioMmio
    config = CONFIG
    cause_offset = VirtioMmio.interrupt_status.offset

    def attach(self, device: VirtioDevice) -> None:
        super().attach(device)
        self.page.device_id = device.layout.id

    def reset(self) -> None:
        super().reset()
        lib.fetch_and32(self.place.page + self.cause_offset, 0)

    def show_queue(self) -> None:
        queue = self.selected_queue()
        self.page.queue_num_max = self.device.queue_sizes[self.selected] if queue else 0
        self.page.queue_ready = int(queue is not None and queue.ready)
        for name in _POSTED:
            setattr(self.page, name, 0)

    def line(self, queue: int):
        return self.place.lines[0]

    def queue_used(self, queue: int) -> None:
        self._interrupt(USED_BUFFER)

    def config_changed(self) -> None:
        self._interrupt(CONFIG_CHANGE)

    def _interrupt(self, cause: int) -> None:
        lib.fetch_or32(self.place.page + self.cause_offset, cause)
        self.place.lines[0].pulse()
