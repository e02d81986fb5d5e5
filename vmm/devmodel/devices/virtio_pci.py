"""virtio over PCI: common configuration, at the start of the register page.  Names are those of
virtio_mmio.py where both transports have a register; a device's own configuration follows at
CONFIG."""

from ..schema import EXACT, NOTIFY, POSTED, RO, WO, Device, reg, u8, u16, u32

CONFIG = 0x100          # bytes; device configuration starts here
COMMON_BYTES = 0x3c
NO_VECTOR = 0xffff      # VIRTIO 1.2, 4.1.5.1.2


class VirtioPci(Device, id=0, version=1, widths=EXACT):
    """virtio-pci, common configuration (VIRTIO 1.2, section 4.1.4.3)."""

    device_features_sel = reg(0x00, u32, "which 32 of the device's feature bits")
    device_features = reg(0x04, u32, "these 32", access=RO)
    driver_features_sel = reg(0x08, u32, "which 32 of the accepted feature bits")
    driver_features = reg(0x0c, u32, "these 32")
    config_vector = reg(0x10, u16, "MSI-X vector of configuration changes", reset=NO_VECTOR)
    num_queues = reg(0x12, u16, "most queues that the device has", access=RO)
    status = reg(0x14, u8, "device status (2.1); 0 resets")
    config_generation = reg(0x15, u8, "moves when device configuration does", access=RO)
    queue_sel = reg(0x16, u16, "queue that the next registers are about")
    queue_num = reg(0x18, u16, "entries it has", takes=POSTED)
    queue_vector = reg(0x1a, u16, "its MSI-X vector", reset=NO_VECTOR)
    queue_ready = reg(0x1c, u16, "1 to start it; takes up the posted registers")
    queue_notify_off = reg(0x1e, u16, "number of its doorbell", access=RO)
    queue_desc_low = reg(0x20, u32, "descriptor area, address bits 0-31", takes=POSTED)
    queue_desc_high = reg(0x24, u32, "and 32-63", takes=POSTED)
    queue_driver_low = reg(0x28, u32, "driver area, address bits 0-31", takes=POSTED)
    queue_driver_high = reg(0x2c, u32, "and 32-63", takes=POSTED)
    queue_device_low = reg(0x30, u32, "device area, address bits 0-31", takes=POSTED)
    queue_device_high = reg(0x34, u32, "and 32-63", takes=POSTED)
    queue_notify_data = reg(0x38, u16, "not offered", access=RO)
    queue_reset = reg(0x3a, u16, "reset one queue; not offered", access=RO)
    queue_notify = reg(0xffe, u16, "stands for each queue's doorbell, which is on a page of its own",
                       access=WO, takes=NOTIFY)
