"""virtio over MMIO, version 2: the transport's registers.  A device's own configuration
follows at CONFIG; its layout belongs to the device."""

from ..schema import EXACT, NOTIFY, POSTED, RO, WO, Device, reg, u32

CONFIG = 0x100          # bytes; device configuration starts here
MAGIC = 0x74726976      # "virt"


class VirtioMmio(Device, id=0, version=2, widths=EXACT):
    """virtio-mmio (VIRTIO 1.2, section 4.2.2)."""

    magic = reg(0x000, u32, "magic value", access=RO, reset=MAGIC)
    device_version = reg(0x004, u32, "transport version", access=RO, reset=2)
    device_id = reg(0x008, u32, "virtio device number", access=RO)
    vendor_id = reg(0x00c, u32, "vendor", access=RO, reset=0x4d4d5653)
    device_features = reg(0x010, u32, "32 feature bits, by device_features_sel", access=RO)
    device_features_sel = reg(0x014, u32, "which 32 of them", access=WO)
    driver_features = reg(0x020, u32, "32 accepted feature bits, by driver_features_sel", access=WO)
    driver_features_sel = reg(0x024, u32, "which 32 of them", access=WO)
    queue_sel = reg(0x030, u32, "queue that the next registers are about", access=WO)
    queue_num_max = reg(0x034, u32, "most entries that queue may have", access=RO)
    queue_num = reg(0x038, u32, "entries it shall have", access=WO, takes=POSTED)
    queue_ready = reg(0x044, u32, "1 to start it; takes up the posted registers")
    queue_notify = reg(0x050, u32, "doorbell: index of a queue", access=WO, takes=NOTIFY)
    interrupt_status = reg(0x060, u32, "why the device interrupts", access=RO,
                           bits={"used_buffer": 0, "config_change": 1})
    interrupt_ack = reg(0x064, u32, "causes that are dealt with", access=WO, takes=POSTED,
                        clears="interrupt_status")
    status = reg(0x070, u32, "device status (2.1); 0 resets",
                 bits={"acknowledge": 0, "driver": 1, "driver_ok": 2, "features_ok": 3,
                       "needs_reset": 6, "failed": 7})
    queue_desc_low = reg(0x080, u32, "descriptor table, address bits 0-31", access=WO, takes=POSTED)
    queue_desc_high = reg(0x084, u32, "and 32-63", access=WO, takes=POSTED)
    queue_driver_low = reg(0x090, u32, "avail ring, address bits 0-31", access=WO, takes=POSTED)
    queue_driver_high = reg(0x094, u32, "and 32-63", access=WO, takes=POSTED)
    queue_device_low = reg(0x0a0, u32, "used ring, address bits 0-31", access=WO, takes=POSTED)
    queue_device_high = reg(0x0a4, u32, "and 32-63", access=WO, takes=POSTED)
    shm_sel = reg(0x0ac, u32, "shared memory region; there are none", access=WO, takes=POSTED)
    shm_len_low = reg(0x0b0, u32, "its length, all ones for none", access=RO, reset=0xffffffff)
    shm_len_high = reg(0x0b4, u32, "and bits 32-63", access=RO, reset=0xffffffff)
    shm_base_low = reg(0x0b8, u32, "its address, all ones for none", access=RO, reset=0xffffffff)
    shm_base_high = reg(0x0bc, u32, "and bits 32-63", access=RO, reset=0xffffffff)
    queue_reset = reg(0x0c0, u32, "reset one queue; not offered", access=RO)
    config_generation = reg(0x0fc, u32, "moves when device configuration does", access=RO)
