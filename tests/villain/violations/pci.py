"""Registers, configuration space, MSI-X and doorbells of virtio over PCI (VIRTIO 1.2, 4.1)."""

from __future__ import annotations

from functools import partial

from vmm.devmodel.devices.pci import CapabilityId, VirtioCapabilityKind
from vmm.devmodel.devices.virtio_pci import NO_VECTOR
from vmm.devmodel.layout import PAGE
from vmm.virtio.virtio_pci import DOORBELLS, ISR, PENDING, TABLE

from ..scene import Scene
from ..stage import MEMORY
from ..table import IGNORED, KINDS, NEEDS_RESET, REFUSED, SERVED, Outcome, breaks
from . import areas

breaks = partial(breaks, on=KINDS, transports=("pci",))
ONES = 0xffffffff
BAR, OFFSET, LENGTH, DATA = 4, 8, 12, 16        # in a capability, 4.1.4
MSIX_CONTROL = 2                                # in that of MSI-X
LIVE = 15


def _config(scene: Scene):
    """The victim's configuration space."""
    name = next(name for name, driver in scene.stage.drivers.items() if driver is scene.victim)
    return scene.stage.config_spaces[name]


def _capability(scene: Scene, kind: VirtioCapabilityKind) -> int:
    return next(at for at, number, data in _config(scene).capabilities()
                if number == CapabilityId.VENDOR and data[3] == kind)


@breaks("4.1.4.1", "capabilities are not written", SERVED)
def capabilities_written(scene: Scene) -> None:
    """Every byte of those of common configuration, doorbells, ISR and device configuration."""
    config = _config(scene)
    for kind in VirtioCapabilityKind:
        if kind == VirtioCapabilityKind.PCI:
            continue
        at = _capability(scene, kind)
        before = [config.read(at + i, 1) for i in range(16)]
        for i in range(16):
            config.write(at + i, 1, before[i] ^ 0xff)
        scene.expect(f"capability {kind.name}", [config.read(at + i, 1) for i in range(16)], before)
    scene.send()


@breaks("4.1.4.3.2", "read-only fields are not written", SERVED)
def read_only_fields(scene: Scene) -> None:
    """device_feature, num_queues, config_generation and queue_notify_off, zeros and ones."""
    for register in ("device_features", "num_queues", "config_generation", "queue_notify_off", "queue_notify_data"):
        for value in (0, 0xff):
            scene.write_nothing(register, value)
    scene.send()


def _sized(name: str, size: int, rings: str, how: str) -> None:
    def do(scene: Scene) -> None:
        areas.start(scene, size=size)
    do.__name__, do.__doc__ = name, how
    breaks("4.1.4.3.2", "a queue's size is one that its kind of ring can have", NEEDS_RESET, rings=(rings,))(do)


_sized("size_0_packed", 0, "packed", "A packed ring of no entries.")
_sized("size_0_split", 0, "split", "A split ring of no entries.")
_sized("size_not_a_power_of_two", 12, "split", "A split ring of 12 entries.")
_sized("size_beyond_the_most_split", 512, "split", "A split ring of twice as many entries as there may be.")
_sized("size_beyond_the_most_packed", 0x7fff, "packed", "A packed ring of 32767 entries.")


@breaks("4.1.4.3.2", "other fields are configured before the queue is enabled", SERVED)
def queue_enabled_first(scene: Scene) -> None:
    """The queue is enabled with nothing written but its number: it lies at address 0 and has all its entries."""
    scene.accept(0)
    scene.write("queue_sel", scene.victim.QUEUE)
    scene.memory.write(0, bytes(0x4000))
    scene.memory.allow(0, 0x4000)
    scene.write("queue_ready", 1)
    scene.write("status", LIVE)
    for queue in range(4):
        scene.write("queue_notify", queue)
    scene.victim.start()
    scene.send()


@breaks("4.1.4.3.2", "0 is not written to queue_enable", SERVED)
def queue_disabled(scene: Scene) -> None:
    """0, and other values, then a request."""
    scene.write("queue_sel", scene.victim.QUEUE)
    for value in (0, 2, 0xfffe):
        scene.write("queue_ready", value)
        scene.expect("queue_enable", scene.read("queue_ready"), 1)
    scene.send()


@breaks("4.1.4.3.2", "fields of a queue are configured before it is enabled", SERVED)
def registers_of_a_live_queue(scene: Scene) -> None:
    """Size and places are written, and the queue enabled again, before a request."""
    scene.write("queue_sel", scene.victim.QUEUE)
    for register in ("queue_num", "queue_desc_low", "queue_driver_high", "queue_device_low"):
        scene.write(register, MEMORY - 16 & 0xffff)
    scene.write("queue_ready", 1)
    scene.send()


@breaks("4.1.4.3.2", "the driver waits until the status reads 0", SERVED)
def no_wait_after_a_reset(scene: Scene) -> None:
    """Reset and set-up, three times, with a request waiting each time."""
    for _ in range(3):
        scene.ring.request(scene.victim.parts())
        scene.write("status", 0)
        scene.victim.start()
    scene.send()


@breaks("4.1.3.1", "registers are accessed by their own widths", SERVED)
def registers_by_other_widths(scene: Scene) -> None:
    """Each register of common configuration by each width that is not its own."""
    for register in scene.victim.device.registers.registers.values():
        for width in (1, 2, 4, 8):
            if width != register.type.size:
                scene.registers.write_at(register.offset, width, 0)
    scene.send()


@breaks("4.1.3.1", "nothing is accessed that no capability describes", SERVED)
def undescribed_places(scene: Scene) -> None:
    """Places in the BAR that are no register's, behind the ISR and in the pages of doorbells."""
    for offset in (0x3c, 0x80, 0xfc, TABLE + 0x700, PENDING + 8, PENDING, ISR + 4, ISR + 0x3fc, DOORBELLS + 2,
                   DOORBELLS + PAGE - 4):
        for width in (1, 2, 4, 8):
            scene.registers.read_at(offset, width)
            scene.registers.write_at(offset, width, (1 << 8 * width) - 1)
    scene.send()


# configuration space as a window into the BAR

WINDOW = "the window is aligned, and inside what a capability describes"


def _window(name: str, how: str, bar: int, offset: int, length: int) -> None:
    def do(scene: Scene) -> None:
        config, at = _config(scene), _capability(scene, VirtioCapabilityKind.PCI)
        config.write(at + BAR, 1, bar)
        config.write(at + OFFSET, 4, offset)
        config.write(at + LENGTH, 4, length)
        for value in (0, ONES):
            config.write(at + DATA, 4, value)
            config.read(at + DATA, 4)
        scene.send()
    do.__name__, do.__doc__ = f"window_{name}", how
    breaks("4.1.4.9.2", WINDOW, SERVED)(do)


_window("not_aligned", "4 bytes at offset 0x16.", 0, 0x16, 4)
_window("of_no_bytes", "A length of 0.", 0, 0x14, 0)
_window("of_3_bytes", "A length of 3.", 0, 0x15, 3)
_window("of_8_bytes", "A length of 8.", 0, 0x20, 8)
_window("of_4_gib", "A length of 2^32 - 1.", 0, 0, ONES)
_window("behind_the_bar", "An offset behind the BAR.", 0, 0x100000, 4)
_window("that_wraps", "4 bytes at the last offset that there is.", 0, ONES - 3, 4)
_window("of_another_bar", "BAR 5, which there is not.", 5, 0x14, 1)
_window("of_no_bar", "BAR 255.", 255, 0x14, 1)
_window("of_the_msix_table", "The MSI-X table, which is of no virtio capability.", 0, TABLE, 4)
_window("of_pending_bits", "The pending bits of MSI-X.", 0, PENDING, 4)


# MSI-X

VECTORS = "events are mapped to vectors that the table has"


def _vector(register: str, name: str, value: int) -> None:
    def do(scene: Scene) -> Outcome:
        scene.write("queue_sel", scene.victim.QUEUE)
        scene.write(register, value)
        found = scene.read(register)
        scene.send()
        scene.expect("outcome", scene.outcome(), SERVED)
        return REFUSED if found == NO_VECTOR else SERVED
    do.__name__, do.__doc__ = f"{register}_{name}", f"{register} becomes {value:#x}."
    breaks("4.1.5.1.2.2", VECTORS, REFUSED)(do)


for _register in ("queue_vector", "config_vector"):
    _vector(_register, "beyond_the_table", 64)
    _vector(_register, "of_the_largest_table", 0x7ff)
    _vector(_register, "next_to_none", NO_VECTOR - 1)


@breaks("4.1.5.1.2.2", VECTORS, SERVED)
def vector_of_no_queue(scene: Scene) -> None:
    """A vector for a queue that there is not."""
    scene.write("queue_sel", 0xfff0)
    scene.write("queue_vector", 0)
    scene.send()


@breaks("4.1.5.1.2.2", "entries of the MSI-X table hold messages for the interrupt controller", SERVED)
def messages_to_anywhere(scene: Scene) -> None:
    """Entries that point at RAM, at registers and at nothing; MSI-X is switched on and vectors are mapped."""
    config = _config(scene)
    at = next(at for at, number, _ in config.capabilities() if number == CapabilityId.MSIX)
    before = config.read(at + MSIX_CONTROL, 2)
    for i, address in enumerate((scene.FREE, 0xd0000000, ONES << 32 | 0xfffffffc)):
        for word, value in enumerate((address & ONES, address >> 32, ONES, 0)):
            scene.registers.write_at(TABLE + 16 * (i % 2) + 4 * word, 4, value)
        config.write(at + MSIX_CONTROL, 2, before | 1 << 15)
        scene.write("queue_sel", scene.victim.QUEUE)
        scene.write("queue_vector", i % 2)
        scene.write("config_vector", 1)
        scene.send()
        scene.ring.take()
    config.write(at + MSIX_CONTROL, 2, before)
    scene.send()


@breaks("4.1.5.1.2.2", "the MSI-X table is accessed by 4 or 8 bytes, aligned", SERVED)
def table_by_other_widths(scene: Scene) -> None:
    """Bytes, words and unaligned accesses of the table, and of what lies behind it."""
    vectors = len(scene.victim.device.queue_sizes) + 1
    for offset in (0, 1, 6, 16 * vectors - 2, 16 * vectors, PENDING - TABLE - 4):
        for width in (1, 2, 4, 8):
            if offset % width == 0 or width > 2:
                scene.registers.write_at(TABLE + offset, width, 1)
                scene.registers.read_at(TABLE + offset, width)
    scene.send()


@breaks("4.1.4.5.2", "with MSI-X the ISR is left alone", SERVED)
def isr_written(scene: Scene) -> None:
    """The ISR is written, and read by every width, again and again."""
    for _ in range(4):
        for width in (1, 2, 4):
            scene.registers.write_at(ISR, width, 3)
            scene.registers.read_at(ISR, width)
    scene.send()


# doorbells

@breaks("4.1.5.2.1", "a doorbell is 16 bits wide", IGNORED)
def doorbell_of_another_width(scene: Scene) -> None:
    """A request, and doorbells of 8, 32 and 64 bits."""
    scene.ring.request(scene.victim.parts())
    for width in (1, 4, 8):
        scene.registers.write_at(DOORBELLS + PAGE * scene.victim.QUEUE, width, scene.victim.QUEUE)


@breaks("4.1.5.2.1", "a doorbell is the queue's number", IGNORED)
def doorbell_of_another_number(scene: Scene) -> None:
    """A request, and numbers of queues that there are not, at the place of the right one."""
    scene.ring.request(scene.victim.parts())
    for value in (len(scene.victim.device.queue_sizes), 0xff, 0xffff):
        scene.registers.write_at(DOORBELLS + PAGE * scene.victim.QUEUE, 2, value)
    scene.victim.settle()


@breaks("4.1.5.2.1", "a doorbell is the queue's number", SERVED, on=("net", "console"))
def doorbell_at_another_place(scene: Scene) -> None:
    """A request, and the queue's number at the place of queue 0's doorbell."""
    scene.ring.request(scene.victim.parts())
    scene.registers.write_at(DOORBELLS, 2, scene.victim.QUEUE)
    scene.victim.settle()


@breaks("4.1.5.2.1", "a doorbell is at the queue's place", IGNORED)
def doorbell_beside_its_place(scene: Scene) -> None:
    """A request, and the right number 2 bytes behind the right place, and behind the last page of doorbells."""
    scene.ring.request(scene.victim.parts())
    pages = len(scene.victim.device.queue_sizes)
    bar_bytes = scene.victim.device.transport.function.bar_bytes
    for offset in (DOORBELLS + PAGE * scene.victim.QUEUE + 2, DOORBELLS + PAGE * pages, bar_bytes - PAGE):
        if offset + 2 <= bar_bytes and offset != DOORBELLS + PAGE * scene.victim.QUEUE:
            scene.registers.write_at(offset, 2, scene.victim.QUEUE)
