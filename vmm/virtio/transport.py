"""What a driver reaches a virtio device by, and what all transports have in common (VIRTIO 1.2, chapter 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..device.accessors import check_accessors
from ..device.place import Routed
from ..devmodel.device_layout import layout_device
from ..virtqueue.virtqueue import UserQueue

if TYPE_CHECKING:
    from .virtio_device import VirtioDevice

DRIVER_OK, FEATURES_OK, NEEDS_RESET = 4, 8, 64                      # device status, 2.1


class Transport:
    """What a driver reaches a virtio device by: the registers that every transport has, under the
    same names.  `schema` declares them, `config` is where in the page device configuration
    starts, in bytes."""

    schema: type
    config: int
    on_pci = False
    cause_offset = 0    # of the register that tells why the device interrupts, if there is one

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        check_accessors(cls, cls.schema)

    def __init__(self):
        self.layout = layout_device(self.schema)

    def attach(self, device: VirtioDevice) -> None:
        """The device has its place now."""
        self.device, self.page, self.place = device, device.page, device.place
        self.reset()

    def reset(self) -> None:
        """Registers as a driver first finds them."""
        self.selected = self._driver_window = 0
        self.page.device_features = self.device.offered & 0xffffffff
        self.page.status = 0
        self.show_queue()

    def show_queue(self) -> None:
        """Registers of the selected queue."""
        raise NotImplementedError

    def selected_queue(self) -> UserQueue | None:
        queues = self.device.queues
        return queues[self.selected] if self.selected < len(queues) else None

    def routes(self) -> list[Routed]:
        """What the exit path is to take while the device is offloaded."""
        return self.device.page_routes()

    def line(self, queue: int):
        """The interrupt line of a queue."""
        raise NotImplementedError

    def queue_used(self, queue: int) -> None:
        """Tell the driver that buffers have been used (2.3)."""
        raise NotImplementedError

    def config_changed(self) -> None:
        """Tell the driver that device configuration, or the status, has changed (2.3)."""
        raise NotImplementedError

    # registers that userspace takes

    def on_write_device_features_sel(self, value: int) -> None:
        self.page.device_features_sel = value
        self.page.device_features = self.device.offered >> 32 * value & 0xffffffff if value < 2 else 0

    def on_write_driver_features_sel(self, value: int) -> None:
        self.page.driver_features_sel = self._driver_window = value

    def on_write_driver_features(self, value: int) -> None:
        self.device.accept(self._driver_window, value)

    def on_write_queue_sel(self, value: int) -> None:
        self.page.queue_sel = self.selected = value
        self.show_queue()

    def on_write_queue_ready(self, value: int) -> None:
        queue = self.selected_queue()
        if queue is None:
            return
        page = self.page
        if value & 1 and not queue.ready:
            self.device.start_queue(queue, page.queue_num, *(
                getattr(page, f"queue_{area}_low") | getattr(page, f"queue_{area}_high") << 32
                for area in ("desc", "driver", "device")))
        elif not value & 1 and queue.ready:
            self.device.stop_queue(queue)
        page.queue_ready = int(queue.ready)

    def on_write_status(self, value: int) -> None:
        self.device.set_status(value)

    def on_write_queue_notify(self, value: int) -> None:
        self.device.notified(value)
