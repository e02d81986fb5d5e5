"""Registers of virtio-mmio (VIRTIO 1.2, 4.2)."""

from __future__ import annotations

from functools import partial

from vmm.devmodel.devices.virtio_mmio import CONFIG

from ..scene import Scene
from ..stage import MEMORY
from ..table import IGNORED, KINDS, NEEDS_RESET, SERVED, breaks

breaks = partial(breaks, on=KINDS, transports=("mmio",))
ONES = 0xffffffff
READ_ONLY = ("magic", "device_version", "device_id", "vendor_id", "device_features", "queue_num_max",
             "interrupt_status", "shm_len_low", "shm_base_low", "queue_reset", "config_generation")
WRITE_ONLY = ("device_features_sel", "driver_features", "driver_features_sel", "queue_sel", "queue_num", "queue_notify",
              "interrupt_ack", "queue_desc_low", "queue_driver_high", "queue_device_low", "shm_sel")
QUEUE_PLACES = ("queue_num", "queue_desc_low", "queue_desc_high", "queue_driver_low", "queue_driver_high",
                "queue_device_low", "queue_device_high")


def _offset(scene: Scene, register: str) -> int:
    return scene.victim.device.registers.registers[register].offset


@breaks("4.2.2.2", "read-only registers are not written", SERVED)
def read_only_registers(scene: Scene) -> None:
    """Each of them, zeros and ones."""
    for register in READ_ONLY:
        for value in (0, ONES):
            scene.write_nothing(register, value)
    scene.send()


@breaks("4.2.2.2", "write-only registers are not read", SERVED)
def write_only_registers(scene: Scene) -> None:
    """Each of them is read, and so rung, acknowledged and selected by nobody."""
    for register in WRITE_ONLY:
        scene.read(register)
    scene.send()


@breaks("4.2.2.2", "nothing is accessed that is not described", SERVED)
def undescribed_registers(scene: Scene) -> None:
    """All the page below device configuration where there is no register, and the last bytes of the page."""
    registers = scene.victim.device.registers.registers.values()
    known = {r.offset for r in registers}
    for offset in [*range(0, CONFIG, 4), 0xff8, 0xffc]:
        if offset not in known:
            scene.registers.read_at(offset, 4)
            scene.registers.write_at(offset, 4, ONES)
    scene.send()


WIDTH = "control registers are accessed by 32 bits, and aligned"


@breaks("4.2.2.2", WIDTH, SERVED)
def narrow_writes(scene: Scene) -> None:
    """8 and 16 bits of every register."""
    for register in (*READ_ONLY, *WRITE_ONLY, "status", "queue_ready"):
        for width in (1, 2):
            for at in range(0, 4, width):
                scene.registers.write_at(_offset(scene, register) + at, width, 0)
    scene.send()


@breaks("4.2.2.2", WIDTH, SERVED)
def wide_writes(scene: Scene) -> None:
    """64 bits at every register."""
    for register in (*WRITE_ONLY, "status", "queue_ready"):
        if (offset := _offset(scene, register)) % 8 == 0:
            scene.registers.write_at(offset, 8, 0)
    scene.send()


@breaks("4.2.2.2", WIDTH, SERVED)
def unaligned_writes(scene: Scene) -> None:
    """32 bits, two bytes behind the beginning of every register."""
    for register in (*READ_ONLY, *WRITE_ONLY, "status", "queue_ready"):
        scene.registers.write_at(_offset(scene, register) + 2, 4, 0)
    scene.send()


@breaks("4.2.2.2", WIDTH, IGNORED)
def narrow_doorbell(scene: Scene) -> None:
    """A request, and doorbells of 8, 16 and 64 bits."""
    scene.ring.request(scene.victim.parts())
    for width in (1, 2, 8):
        scene.registers.write_at(_offset(scene, "queue_notify"), width, scene.victim.QUEUE)


@breaks("4.1.3.1", "device configuration is accessed by its fields' widths", SERVED, transports=("pci",))
@breaks("4.2.2.2", "device configuration is accessed by its fields' widths", SERVED)
def configuration_by_other_widths(scene: Scene) -> None:
    """Writes of every width at every byte of it."""
    for width in (1, 2, 4, 8):
        scene.write_configuration(width, 0xa5)
    scene.send()


@breaks("4.2.2.2", "a queue has no more entries than the device says", NEEDS_RESET)
def queue_too_large(scene: Scene) -> None:
    """Twice as many entries as there may be."""
    scene.victim.start(ready=False)
    scene.write("queue_sel", scene.victim.QUEUE)
    scene.write("queue_ready", 0)
    scene.ring.size = 2 * scene.read("queue_num_max")
    scene.victim.place(scene.ring)


@breaks("4.2.2.2", "a queue has no more entries than the device says", NEEDS_RESET)
def queue_of_4_gib(scene: Scene) -> None:
    """2^32 - 1 entries."""
    scene.victim.start(ready=False)
    scene.write("queue_sel", scene.victim.QUEUE)
    scene.write("queue_ready", 0)
    scene.write("queue_num", ONES)
    scene.write("queue_ready", 1)


@breaks("4.2.2.2", "a queue's registers are left alone while it is ready", SERVED)
def registers_of_a_live_queue(scene: Scene) -> None:
    """Size and places are written, and the queue made ready again, before a request."""
    scene.write("queue_sel", scene.victim.QUEUE)
    for register in QUEUE_PLACES:
        scene.write(register, MEMORY - 16)
    scene.write("queue_ready", 1)
    scene.send()


@breaks("4.2.2.2", "a queue is stopped by 0, which is read back", SERVED)
def queue_started_again_at_once(scene: Scene) -> None:
    """0 and 1 in turn, with a request waiting, and no look at what is there."""
    scene.write("queue_sel", scene.victim.QUEUE)
    for _ in range(10):
        scene.ring.request(scene.victim.parts(), 0)
        scene.write("queue_ready", 0)
        scene.victim.rings[scene.victim.QUEUE] = scene.victim._start_queue(scene.victim.QUEUE)
    scene.send()


@breaks("4.2.2.2", "a queue that is stopped is not rung", IGNORED)
def doorbell_of_a_stopped_queue(scene: Scene) -> None:
    """0, then a request."""
    scene.write("queue_sel", scene.victim.QUEUE)
    scene.write("queue_ready", 0)
    scene.send()


@breaks("4.2.2.2", "only causes that are there are acknowledged", SERVED)
def undefined_causes(scene: Scene) -> None:
    """All 32 bits are acknowledged, before anything and after it."""
    scene.write("interrupt_ack", ONES)
    scene.send()
    scene.write("interrupt_ack", ONES)
    scene.expect("interrupt_status", scene.read("interrupt_status"), 0)


@breaks("4.2.3.4.1", "an interrupt is acknowledged", SERVED)
def nothing_acknowledged(scene: Scene) -> None:
    """Requests, and no cause is ever acknowledged."""
    for _ in range(2 * scene.size):
        scene.send()
        scene.ring.take()
    scene.send()


@breaks("4.2.2.2", "a selector is written before features are", SERVED)
def features_without_a_selector(scene: Scene) -> None:
    """After a reset features are read and written at once, in the window that is there."""
    scene.write("status", 0)
    scene.read("device_features")
    scene.write("driver_features", ONES)
    scene.victim.start()
    scene.send()


@breaks("4.2.3.1.1", "shared memory registers are left alone by who needs none", SERVED)
def shared_memory(scene: Scene) -> None:
    """Regions of every number are selected and looked at."""
    for region in (0, 1, 255, ONES):
        scene.write("shm_sel", region)
        scene.expect("shm_len_low", scene.read("shm_len_low"), ONES)
    scene.send()


@breaks("4.2.2.2", "a doorbell is a queue's number", IGNORED)
def doorbells_of_no_queue(scene: Scene) -> None:
    """A request, and doorbells of queues that there are not, numbers of more than 16 bits among them."""
    scene.ring.request(scene.victim.parts())
    queues = len(scene.victim.device.queue_sizes)
    for value in (queues, queues + 1, 255, 0xffff, ONES, scene.victim.QUEUE | 1 << 16, scene.victim.QUEUE | 1 << 31):
        scene.write("queue_notify", value)


@breaks("4.2.2.2", "a queue is selected that there is", SERVED)
def no_such_queue(scene: Scene) -> None:
    """Queues that there are not are selected and started."""
    for queue in (len(scene.victim.device.queue_sizes), 0xffff, ONES):
        scene.write("queue_sel", queue)
        scene.expect("queue_num_max", scene.read("queue_num_max"), 0)
        scene.write("queue_num", 16)
        scene.write("queue_ready", 1)
        scene.expect("queue_ready", scene.read("queue_ready"), 0)
    scene.send()
