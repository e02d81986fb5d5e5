"""virtio over PCI, modern (VIRTIO 1.2, section 4.1): one BAR, whose first page is memory that
the guest reads without an exit, and whose doorbells are one to a page.

    0x0000  common and device configuration   the register page
    0x1000  MSI-X table, pending bits, ISR    read and written by exits
    0x2000  doorbell of queue 0
    0x3000  doorbell of queue 1 ...

Interrupts are messages only: there is no INTx pin.
"""

from __future__ import annotations

from ..device.place import Routed
from ..devmodel.devices.pci import CapabilityId, VirtioCapability, VirtioCapabilityKind
from ..devmodel.devices.virtio_pci import COMMON_BYTES, CONFIG, VirtioPci
from ..devmodel.exit_path import Action
from ..devmodel.layout import PAGE, layout_block
from ..kvm.interrupts import Interrupts
from ..pci.msix import NO_VECTOR, Msix
from ..pci.pci import PciFunction
from .transport import Transport
from .virtio_device import VirtioDevice

VENDOR, FIRST_DEVICE = 0x1af4, 0x1040       # 4.1.2: the device's number is added
CLASSES = {1: (0x02, 0x00), 2: (0x01, 0x00), 3: (0x07, 0x80), 4: (0xff, 0x00)}     # by virtio device number
REVISION = 1                                # 4.1.2.1: not transitional
TABLE, PENDING, ISR, DOORBELLS = 0x1000, 0x1800, 0x1c00, 0x2000     # offsets in the BAR
ISR_CONFIG = 2                              # 4.1.4.5
DOORBELL_BYTES = 2
NOTIFY = VirtioPci.queue_notify
_AREAS = [f"queue_{area}_{half}" for area in ("desc", "driver", "device") for half in ("low", "high")]


class PciTransport(Transport):
    """An endpoint of its own; one interrupt line for each queue, and one for configuration changes."""

    schema = VirtioPci
    config = CONFIG
    on_pci = True

    def __init__(self, device: VirtioDevice, interrupts: Interrupts):
        super().__init__()
        count = len(device.queue_sizes)
        pages = 1 << (DOORBELLS // PAGE + count - 1).bit_length()
        self.function = PciFunction(device.name, VENDOR, FIRST_DEVICE + device.layout.id,
                                    *CLASSES.get(device.layout.id, (0xff, 0)), bar_bytes=PAGE * pages,
                                    revision=REVISION, subsystem=(VENDOR, FIRST_DEVICE + device.layout.id))
        self.lines = [interrupts.message_line() for _ in range(count + 1)]
        self.msix = Msix(self.function, interrupts, self.lines, TABLE, PENDING)
        self._isr = 0
        self._shown: list[dict[str, int]] = []      # registers of each queue, while another is selected
        self._capabilities(count)

    def _capabilities(self, queues: int) -> None:
        kind = VirtioCapabilityKind
        for what, offset, size, argument in ((kind.COMMON, 0, COMMON_BYTES, 0), (kind.ISR, ISR, 1, 0),
                                             (kind.NOTIFY, DOORBELLS, PAGE * queues, PAGE),
                                             (kind.DEVICE, CONFIG, PAGE - CONFIG, 0), (kind.PCI, 0, 0, 0)):
            length = layout_block(VirtioCapability).size if what in (kind.NOTIFY, kind.PCI) else 16
            at = self.function.add_capability(VirtioCapability, id=CapabilityId.VENDOR, length=length, kind=what,
                                              offset=offset, size=size, argument=argument)
        self._window = at
        self.function.allow(at + 4, b"\xff")                # BAR, offset, length and data of 4.1.4.9
        self.function.allow(at + 8, b"\xff" * 12)
        self.function.hook(at + 16, 4, self)

    # registers

    def reset(self) -> None:
        self._shown = [self._fresh(size) for size in self.device.queue_sizes]
        super().reset()
        self.page.num_queues = len(self.device.queue_sizes)
        self.page.config_vector = NO_VECTOR
        self.msix.reset()
        self._isr = 0

    @staticmethod
    def _fresh(size: int) -> dict[str, int]:
        return {"queue_num": size, "queue_vector": NO_VECTOR, **dict.fromkeys(_AREAS, 0)}

    def show_queue(self) -> None:
        queue, page = self.selected_queue(), self.page
        shown = self._shown[self.selected] if queue else self._fresh(0)     # 4.1.5.1.3: size 0, no such queue
        for name, value in shown.items():
            setattr(page, name, value)
        page.queue_ready = int(queue is not None and queue.ready)
        page.queue_notify_off = self.selected if queue else 0

    def on_write_queue_sel(self, value: int) -> None:
        if self.selected_queue():       # what was posted belongs to the queue that was selected then
            self._shown[self.selected] = {name: getattr(self.page, name) for name in self._shown[self.selected]}
        super().on_write_queue_sel(value)

    def on_write_queue_ready(self, value: int) -> None:
        if value & 1:                   # 4.1.4.3.2: the driver does not write 0
            super().on_write_queue_ready(value)

    def on_write_driver_features_sel(self, value: int) -> None:
        super().on_write_driver_features_sel(value)
        self.page.driver_features = self.device.accepted >> 32 * value & 0xffffffff if value < 2 else 0

    def on_write_driver_features(self, value: int) -> None:
        super().on_write_driver_features(value)
        self.page.driver_features = value

    def on_write_queue_vector(self, value: int) -> None:
        if self.selected_queue():
            self.page.queue_vector = self.msix.point(self.lines[self.selected], value)

    def on_write_config_vector(self, value: int) -> None:
        self.page.config_vector = self.msix.point(self.lines[-1], value)

    # interrupts

    def line(self, queue: int):
        return self.lines[queue]

    def queue_used(self, queue: int) -> None:
        self.lines[queue].pulse()

    def config_changed(self) -> None:
        self._isr |= ISR_CONFIG
        self.lines[-1].pulse()

    # the BAR

    def routes(self) -> list[Routed]:
        if self.place.base is None:
            return []
        posted = [route for route in self.device.page_routes() if route.action is not Action.NOTIFY]
        return posted + [Routed(self.place.base + DOORBELLS + PAGE * i, DOORBELL_BYTES, Action.NOTIFY,
                                NOTIFY.offset, queue=i) for i in range(len(self.device.queues))]

    def read(self, offset: int, width: int) -> int:
        """The guest's access to the BAR, where it is no memory."""
        if offset < PAGE:
            return self.device.read(offset, width)
        if TABLE <= offset < PENDING:
            return self.msix.read_table(offset - TABLE, width)
        if PENDING <= offset < ISR:
            return self.msix.read_pending(offset - PENDING, width)
        if offset == ISR:
            with self.device.lock:
                value, self._isr = self._isr, 0     # 4.1.4.5: reading it clears it
                return value
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset < PAGE:
            self.device.write(offset, width, value)
        elif TABLE <= offset < PENDING:
            with self.device.lock:
                self.msix.write_table(offset - TABLE, width, value)
        elif self._is_doorbell(offset) and width == DOORBELL_BYTES:
            self.device.write(NOTIFY.offset, width, value)

    def _is_doorbell(self, offset: int) -> bool:
        """Of a queue's: the BAR has more pages than those, as its size is a power of two."""
        page, inside = divmod(offset - DOORBELLS, PAGE)
        return not inside and 0 <= page < len(self.device.queues)

    # the same through configuration space (4.1.4.9)

    def _chosen(self) -> tuple[int, int] | None:
        space, at = self.function.space, self._window
        bar, offset, length = space[at + 4], int.from_bytes(space[at + 8:at + 12], "little"), \
            int.from_bytes(space[at + 12:at + 16], "little")
        if bar or length not in (1, 2, 4) or offset % length or offset + length > self.function.bar_bytes:
            return None
        return offset, length

    def config_read(self) -> None:
        if chosen := self._chosen():
            data = self.read(*chosen).to_bytes(8, "little")[:4]
            self.function.space[self._window + 16:self._window + 20] = data

    def config_written(self) -> None:
        if chosen := self._chosen():
            offset, length = chosen
            self.write(offset, length, int.from_bytes(
                self.function.space[self._window + 16:self._window + 16 + length], "little"))
