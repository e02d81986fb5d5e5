/* Generated from vmm/devmodel/virtio_mmio.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_VIRTIO_MMIO_GEN_H
#define SPLITVMM_VIRTIO_MMIO_GEN_H

#include <linux/types.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

#define VIRTIO_MMIO_ID 0
#define VIRTIO_MMIO_VERSION 2
#define VIRTIO_MMIO_LAYOUT_HASH 0x04c5b6b0fca72411ull
#define VIRTIO_MMIO_QUEUES 0

enum {
	VIRTIO_MMIO_CONFIG = 0x100,
};

enum {
	VIRTIO_MMIO_MAGIC = 0x000,	/* ro, user: magic value */
	VIRTIO_MMIO_DEVICE_VERSION = 0x004,	/* ro, user: transport version */
	VIRTIO_MMIO_DEVICE_ID = 0x008,	/* ro, user: virtio device number */
	VIRTIO_MMIO_VENDOR_ID = 0x00c,	/* ro, user: vendor */
	VIRTIO_MMIO_DEVICE_FEATURES = 0x010,	/* ro, user: 32 feature bits, by device_features_sel */
	VIRTIO_MMIO_DEVICE_FEATURES_SEL = 0x014,	/* wo, user: which 32 of them */
	VIRTIO_MMIO_DRIVER_FEATURES = 0x020,	/* wo, user: 32 accepted feature bits, by driver_features_sel */
	VIRTIO_MMIO_DRIVER_FEATURES_SEL = 0x024,	/* wo, user: which 32 of them */
	VIRTIO_MMIO_QUEUE_SEL = 0x030,	/* wo, user: queue that the next registers are about */
	VIRTIO_MMIO_QUEUE_NUM_MAX = 0x034,	/* ro, user: most entries that queue may have */
	VIRTIO_MMIO_QUEUE_NUM = 0x038,	/* wo, posted: entries it shall have */
	VIRTIO_MMIO_QUEUE_READY = 0x044,	/* rw, user: 1 to start it; takes up the posted registers */
	VIRTIO_MMIO_QUEUE_NOTIFY = 0x050,	/* wo, notify: doorbell: index of a queue */
	VIRTIO_MMIO_INTERRUPT_STATUS = 0x060,	/* ro, user: why the device interrupts */
	VIRTIO_MMIO_INTERRUPT_ACK = 0x064,	/* wo, posted: causes that are dealt with */
	VIRTIO_MMIO_STATUS = 0x070,	/* rw, user: device status (2.1); 0 resets */
	VIRTIO_MMIO_QUEUE_DESC_LOW = 0x080,	/* wo, posted: descriptor table, address bits 0-31 */
	VIRTIO_MMIO_QUEUE_DESC_HIGH = 0x084,	/* wo, posted: and 32-63 */
	VIRTIO_MMIO_QUEUE_DRIVER_LOW = 0x090,	/* wo, posted: avail ring, address bits 0-31 */
	VIRTIO_MMIO_QUEUE_DRIVER_HIGH = 0x094,	/* wo, posted: and 32-63 */
	VIRTIO_MMIO_QUEUE_DEVICE_LOW = 0x0a0,	/* wo, posted: used ring, address bits 0-31 */
	VIRTIO_MMIO_QUEUE_DEVICE_HIGH = 0x0a4,	/* wo, posted: and 32-63 */
	VIRTIO_MMIO_SHM_SEL = 0x0ac,	/* wo, posted: shared memory region; there are none */
	VIRTIO_MMIO_SHM_LEN_LOW = 0x0b0,	/* ro, user: its length, all ones for none */
	VIRTIO_MMIO_SHM_LEN_HIGH = 0x0b4,	/* ro, user: and bits 32-63 */
	VIRTIO_MMIO_SHM_BASE_LOW = 0x0b8,	/* ro, user: its address, all ones for none */
	VIRTIO_MMIO_SHM_BASE_HIGH = 0x0bc,	/* ro, user: and bits 32-63 */
	VIRTIO_MMIO_QUEUE_RESET = 0x0c0,	/* ro, user: reset one queue; not offered */
	VIRTIO_MMIO_CONFIG_GENERATION = 0x0fc,	/* ro, user: moves when device configuration does */
};

/* register page of VirtioMmio */
struct virtio_mmio_page {
	__u32 magic;	/* 0x000 magic value */
	__u32 device_version;	/* 0x004 transport version */
	__u32 device_id;	/* 0x008 virtio device number */
	__u32 vendor_id;	/* 0x00c vendor */
	__u32 device_features;	/* 0x010 32 feature bits, by device_features_sel */
	__u32 device_features_sel;	/* 0x014 which 32 of them */
	__u8 reserved_18[8];	/* 0x018 to the next field's place */
	__u32 driver_features;	/* 0x020 32 accepted feature bits, by driver_features_sel */
	__u32 driver_features_sel;	/* 0x024 which 32 of them */
	__u8 reserved_28[8];	/* 0x028 to the next field's place */
	__u32 queue_sel;	/* 0x030 queue that the next registers are about */
	__u32 queue_num_max;	/* 0x034 most entries that queue may have */
	__u32 queue_num;	/* 0x038 entries it shall have */
	__u8 reserved_3c[8];	/* 0x03c to the next field's place */
	__u32 queue_ready;	/* 0x044 1 to start it; takes up the posted registers */
	__u8 reserved_48[8];	/* 0x048 to the next field's place */
	__u32 queue_notify;	/* 0x050 doorbell: index of a queue */
	__u8 reserved_54[12];	/* 0x054 to the next field's place */
	__u32 interrupt_status;	/* 0x060 why the device interrupts */
	__u32 interrupt_ack;	/* 0x064 causes that are dealt with */
	__u8 reserved_68[8];	/* 0x068 to the next field's place */
	__u32 status;	/* 0x070 device status (2.1); 0 resets */
	__u8 reserved_74[12];	/* 0x074 to the next field's place */
	__u32 queue_desc_low;	/* 0x080 descriptor table, address bits 0-31 */
	__u32 queue_desc_high;	/* 0x084 and 32-63 */
	__u8 reserved_88[8];	/* 0x088 to the next field's place */
	__u32 queue_driver_low;	/* 0x090 avail ring, address bits 0-31 */
	__u32 queue_driver_high;	/* 0x094 and 32-63 */
	__u8 reserved_98[8];	/* 0x098 to the next field's place */
	__u32 queue_device_low;	/* 0x0a0 used ring, address bits 0-31 */
	__u32 queue_device_high;	/* 0x0a4 and 32-63 */
	__u8 reserved_a8[4];	/* 0x0a8 to the next field's place */
	__u32 shm_sel;	/* 0x0ac shared memory region; there are none */
	__u32 shm_len_low;	/* 0x0b0 its length, all ones for none */
	__u32 shm_len_high;	/* 0x0b4 and bits 32-63 */
	__u32 shm_base_low;	/* 0x0b8 its address, all ones for none */
	__u32 shm_base_high;	/* 0x0bc and bits 32-63 */
	__u32 queue_reset;	/* 0x0c0 reset one queue; not offered */
	__u8 reserved_c4[56];	/* 0x0c4 to the next field's place */
	__u32 config_generation;	/* 0x0fc moves when device configuration does */
	__u8 reserved_100[3840];	/* 0x100 to the next field's place */
};
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, magic) == 0x0, "virtio_mmio_page.magic");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, device_version) == 0x4, "virtio_mmio_page.device_version");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, device_id) == 0x8, "virtio_mmio_page.device_id");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, vendor_id) == 0xc, "virtio_mmio_page.vendor_id");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, device_features) == 0x10, "virtio_mmio_page.device_features");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, device_features_sel) == 0x14, "virtio_mmio_page.device_features_sel");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_18) == 0x18, "virtio_mmio_page.reserved_18");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, driver_features) == 0x20, "virtio_mmio_page.driver_features");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, driver_features_sel) == 0x24, "virtio_mmio_page.driver_features_sel");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_28) == 0x28, "virtio_mmio_page.reserved_28");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_sel) == 0x30, "virtio_mmio_page.queue_sel");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_num_max) == 0x34, "virtio_mmio_page.queue_num_max");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_num) == 0x38, "virtio_mmio_page.queue_num");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_3c) == 0x3c, "virtio_mmio_page.reserved_3c");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_ready) == 0x44, "virtio_mmio_page.queue_ready");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_48) == 0x48, "virtio_mmio_page.reserved_48");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_notify) == 0x50, "virtio_mmio_page.queue_notify");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_54) == 0x54, "virtio_mmio_page.reserved_54");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, interrupt_status) == 0x60, "virtio_mmio_page.interrupt_status");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, interrupt_ack) == 0x64, "virtio_mmio_page.interrupt_ack");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_68) == 0x68, "virtio_mmio_page.reserved_68");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, status) == 0x70, "virtio_mmio_page.status");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_74) == 0x74, "virtio_mmio_page.reserved_74");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_desc_low) == 0x80, "virtio_mmio_page.queue_desc_low");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_desc_high) == 0x84, "virtio_mmio_page.queue_desc_high");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_88) == 0x88, "virtio_mmio_page.reserved_88");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_driver_low) == 0x90, "virtio_mmio_page.queue_driver_low");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_driver_high) == 0x94, "virtio_mmio_page.queue_driver_high");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_98) == 0x98, "virtio_mmio_page.reserved_98");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_device_low) == 0xa0, "virtio_mmio_page.queue_device_low");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_device_high) == 0xa4, "virtio_mmio_page.queue_device_high");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_a8) == 0xa8, "virtio_mmio_page.reserved_a8");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, shm_sel) == 0xac, "virtio_mmio_page.shm_sel");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, shm_len_low) == 0xb0, "virtio_mmio_page.shm_len_low");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, shm_len_high) == 0xb4, "virtio_mmio_page.shm_len_high");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, shm_base_low) == 0xb8, "virtio_mmio_page.shm_base_low");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, shm_base_high) == 0xbc, "virtio_mmio_page.shm_base_high");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, queue_reset) == 0xc0, "virtio_mmio_page.queue_reset");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_c4) == 0xc4, "virtio_mmio_page.reserved_c4");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, config_generation) == 0xfc, "virtio_mmio_page.config_generation");
_Static_assert(__builtin_offsetof(struct virtio_mmio_page, reserved_100) == 0x100, "virtio_mmio_page.reserved_100");
_Static_assert(sizeof(struct virtio_mmio_page) == 0x1000, "virtio_mmio_page");
enum {
	VIRTIO_MMIO_PAGE_INTERRUPT_STATUS_USED_BUFFER = 1 << 0,
	VIRTIO_MMIO_PAGE_INTERRUPT_STATUS_CONFIG_CHANGE = 1 << 1,
	VIRTIO_MMIO_PAGE_STATUS_ACKNOWLEDGE = 1 << 0,
	VIRTIO_MMIO_PAGE_STATUS_DRIVER = 1 << 1,
	VIRTIO_MMIO_PAGE_STATUS_DRIVER_OK = 1 << 2,
	VIRTIO_MMIO_PAGE_STATUS_FEATURES_OK = 1 << 3,
	VIRTIO_MMIO_PAGE_STATUS_NEEDS_RESET = 1 << 6,
	VIRTIO_MMIO_PAGE_STATUS_FAILED = 1 << 7,
};

#endif /* SPLITVMM_VIRTIO_MMIO_GEN_H */
