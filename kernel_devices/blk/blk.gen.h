/* Generated from vmm/devmodel/devices/blk.py by `splitvmm compile`; change that instead. */
#ifndef SPLITVMM_BLK_GEN_H
#define SPLITVMM_BLK_GEN_H

#include <linux/types.h>
#include "../virtqueue.gen.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio is little-endian");

enum {
	BLK_SECTOR = 0x200,
	BLK_ID_BYTES = 0x14,
	BLK_SEGMENTS = 0x7e,
	BLK_RANGE_SECTORS = 0x400000,
	BLK_PUNCH_HOLE = 0x3,
	BLK_ZERO_RANGE = 0x11,
};

enum request_type {
	REQUEST_TYPE_IN = 0,
	REQUEST_TYPE_OUT = 1,
	REQUEST_TYPE_FLUSH = 4,
	REQUEST_TYPE_GET_ID = 8,
	REQUEST_TYPE_DISCARD = 11,
	REQUEST_TYPE_WRITE_ZEROES = 13,
};

enum status {
	STATUS_OK = 0,
	STATUS_IOERR = 1,
	STATUS_UNSUPP = 2,
};

enum writes {
	WRITES_RING = 0,
	WRITES_AT_ONCE = 1,
};

/* Device configuration (VIRTIO 1.2, 5.2.4), at the transport's CONFIG. */
struct blk_config {
	__le64 capacity;	/* 0x000 disk size [512-byte sectors] */
	__le32 size_max;	/* 0x008 most bytes in one segment, if offered [bytes] */
	__le32 seg_max;	/* 0x00c most segments in a request */
	__le16 cylinders;	/* 0x010 geometry, not offered */
	__u8 heads;	/* 0x012 geometry, not offered */
	__u8 sectors;	/* 0x013 geometry, not offered */
	__le32 blk_size;	/* 0x014 logical block [bytes] */
	__u8 physical_block_exp;	/* 0x018 logical blocks per physical block, as a power of two */
	__u8 alignment_offset;	/* 0x019 first aligned logical block */
	__le16 min_io_size;	/* 0x01a suggested least I/O [logical blocks] */
	__le32 opt_io_size;	/* 0x01c suggested most I/O [logical blocks] */
	__u8 writeback;	/* 0x020 1: completed writes may be lost until a flush */
	__u8 reserved;	/* 0x021 unused0 */
	__le16 num_queues;	/* 0x022 request queues */
	__le32 max_discard_sectors;	/* 0x024 most of one discard [512-byte sectors] */
	__le32 max_discard_seg;	/* 0x028 segments of one discard */
	__le32 discard_sector_alignment;	/* 0x02c alignment of a discard [512-byte sectors] */
	__le32 max_write_zeroes_sectors;	/* 0x030 most of one write-zeroes [512-byte sectors] */
	__le32 max_write_zeroes_seg;	/* 0x034 segments of one write-zeroes */
	__u8 write_zeroes_may_unmap;	/* 0x038 1: unmap may deallocate */
	__u8 reserved1[3];	/* 0x039 unused1 */
	__le32 max_secure_erase_sectors;	/* 0x03c not offered [512-byte sectors] */
	__le32 max_secure_erase_seg;	/* 0x040 not offered */
	__le32 secure_erase_sector_alignment;	/* 0x044 not offered [512-byte sectors] */
};
_Static_assert(__builtin_offsetof(struct blk_config, capacity) == 0x0, "blk_config.capacity");
_Static_assert(__builtin_offsetof(struct blk_config, size_max) == 0x8, "blk_config.size_max");
_Static_assert(__builtin_offsetof(struct blk_config, seg_max) == 0xc, "blk_config.seg_max");
_Static_assert(__builtin_offsetof(struct blk_config, cylinders) == 0x10, "blk_config.cylinders");
_Static_assert(__builtin_offsetof(struct blk_config, heads) == 0x12, "blk_config.heads");
_Static_assert(__builtin_offsetof(struct blk_config, sectors) == 0x13, "blk_config.sectors");
_Static_assert(__builtin_offsetof(struct blk_config, blk_size) == 0x14, "blk_config.blk_size");
_Static_assert(__builtin_offsetof(struct blk_config, physical_block_exp) == 0x18, "blk_config.physical_block_exp");
_Static_assert(__builtin_offsetof(struct blk_config, alignment_offset) == 0x19, "blk_config.alignment_offset");
_Static_assert(__builtin_offsetof(struct blk_config, min_io_size) == 0x1a, "blk_config.min_io_size");
_Static_assert(__builtin_offsetof(struct blk_config, opt_io_size) == 0x1c, "blk_config.opt_io_size");
_Static_assert(__builtin_offsetof(struct blk_config, writeback) == 0x20, "blk_config.writeback");
_Static_assert(__builtin_offsetof(struct blk_config, reserved) == 0x21, "blk_config.reserved");
_Static_assert(__builtin_offsetof(struct blk_config, num_queues) == 0x22, "blk_config.num_queues");
_Static_assert(__builtin_offsetof(struct blk_config, max_discard_sectors) == 0x24, "blk_config.max_discard_sectors");
_Static_assert(__builtin_offsetof(struct blk_config, max_discard_seg) == 0x28, "blk_config.max_discard_seg");
_Static_assert(__builtin_offsetof(struct blk_config, discard_sector_alignment) == 0x2c, "blk_config.discard_sector_alignment");
_Static_assert(__builtin_offsetof(struct blk_config, max_write_zeroes_sectors) == 0x30, "blk_config.max_write_zeroes_sectors");
_Static_assert(__builtin_offsetof(struct blk_config, max_write_zeroes_seg) == 0x34, "blk_config.max_write_zeroes_seg");
_Static_assert(__builtin_offsetof(struct blk_config, write_zeroes_may_unmap) == 0x38, "blk_config.write_zeroes_may_unmap");
_Static_assert(__builtin_offsetof(struct blk_config, reserved1) == 0x39, "blk_config.reserved1");
_Static_assert(__builtin_offsetof(struct blk_config, max_secure_erase_sectors) == 0x3c, "blk_config.max_secure_erase_sectors");
_Static_assert(__builtin_offsetof(struct blk_config, max_secure_erase_seg) == 0x40, "blk_config.max_secure_erase_seg");
_Static_assert(__builtin_offsetof(struct blk_config, secure_erase_sector_alignment) == 0x44, "blk_config.secure_erase_sector_alignment");
_Static_assert(sizeof(struct blk_config) == 0x48, "blk_config");

/* Head of a request (VIRTIO 1.2, 5.2.6). */
struct blk_request {
	__le32 type;	/* 0x000 RequestType */
	__le32 reserved;	/* 0x004 unused */
	__le64 sector;	/* 0x008 where [512-byte sectors] */
};
_Static_assert(__builtin_offsetof(struct blk_request, type) == 0x0, "blk_request.type");
_Static_assert(__builtin_offsetof(struct blk_request, reserved) == 0x4, "blk_request.reserved");
_Static_assert(__builtin_offsetof(struct blk_request, sector) == 0x8, "blk_request.sector");
_Static_assert(sizeof(struct blk_request) == 0x10, "blk_request");

/* One segment of a discard or write-zeroes (VIRTIO 1.2, 5.2.6). */
struct blk_range {
	__le64 sector;	/* 0x000 where [512-byte sectors] */
	__le32 num_sectors;	/* 0x008 how much [512-byte sectors] */
	__le32 flags;	/* 0x00c bit 0: unmap */
};
_Static_assert(__builtin_offsetof(struct blk_range, sector) == 0x0, "blk_range.sector");
_Static_assert(__builtin_offsetof(struct blk_range, num_sectors) == 0x8, "blk_range.num_sectors");
_Static_assert(__builtin_offsetof(struct blk_range, flags) == 0xc, "blk_range.flags");
_Static_assert(sizeof(struct blk_range) == 0x10, "blk_range");

#define BLK_ID 2
#define BLK_VERSION 1
#define BLK_LAYOUT_HASH 0x469f03a4f363354dull
#define BLK_QUEUES 16

#define HANDLER_LOCKED 0	/* it has the device to itself */
#define HANDLER_RAISES 0	/* HANDLED_INTERRUPT raises the device's line */

enum blk_decline {
	BLK_DECLINE_HELD_BY_USER = 1,	/* userspace holds the queue */
	BLK_DECLINE_NOT_READY = 2,	/* the queue is not set up */
	BLK_DECLINE_MALFORMED = 3,	/* a chain breaks a rule of the specification */
	BLK_DECLINE_OUTSIDE_RAM = 4,	/* an address is outside guest memory */
	BLK_DECLINE_STRADDLES = 5,	/* a buffer spans two memory elements */
	BLK_DECLINE_BUSY = 6,	/* other vCPUs kept the queue filled, or the device locked */
	BLK_DECLINE_BUDGET = 7,	/* it asked for more than one exit may take, of bytes or of time */
	BLK_DECLINE_RING_ASLEEP = 8,	/* submitted, but the thread that polls the ring sleeps */
	BLK_DECLINE_IO_FAILED = 9,	/* asynchronous I/O came back with an error or short */
	BLK_DECLINE_NO_RING = 10,	/* it takes real I/O, and there is no ring to do it through */
	BLK_DECLINE_NOT_RESIDENT = 11,	/* the data is not mapped from the page cache, and there is no ring */
	BLK_DECLINE_OTHER_REQUEST = 12,	/* an unknown request */
	BLK_DECLINE_FRAMING = 13,	/* buffers cut in a way that the handler leaves to userspace */
	BLK_DECLINE_OUT_OF_RANGE = 14,	/* sectors beyond the end of the disk */
	BLK_DECLINE_READ_ONLY = 15,	/* a change of a disk that is read-only */
	BLK_DECLINE_PUNTED = 16,	/* a write that waits for the page cache, as the native build may */
	BLK_DECLINE_UNALIGNED = 17,	/* past the page cache, and not aligned for that */
	BLK_DECLINE_TOO_LARGE = 18,	/* a transfer of more than a handler takes on */
};

/* What the handler needs to know of the image. */
struct blk_disk {
	__u64 capacity;	/* 0x000 disk size [512-byte sectors] */
	__u64 image;	/* 0x008 where the image is mapped; 0 if it is not [address in the process] */
	__u32 image_fd;	/* 0x010 its file descriptor, for the native build */
	__u32 align;	/* 0x014 what reads and writes through the ring are aligned to [bytes] */
	__u32 read_only;	/* 0x018 1 if it must not change */
	__u32 durable;	/* 0x01c 1 if a write is on the disk before it is completed */
	__u8 serial[20];	/* 0x020 answer to GET_ID, padded with zeros */
	__u32 writes;	/* 0x034 how a handler writes */
};
_Static_assert(__builtin_offsetof(struct blk_disk, capacity) == 0x0, "blk_disk.capacity");
_Static_assert(__builtin_offsetof(struct blk_disk, image) == 0x8, "blk_disk.image");
_Static_assert(__builtin_offsetof(struct blk_disk, image_fd) == 0x10, "blk_disk.image_fd");
_Static_assert(__builtin_offsetof(struct blk_disk, align) == 0x14, "blk_disk.align");
_Static_assert(__builtin_offsetof(struct blk_disk, read_only) == 0x18, "blk_disk.read_only");
_Static_assert(__builtin_offsetof(struct blk_disk, durable) == 0x1c, "blk_disk.durable");
_Static_assert(__builtin_offsetof(struct blk_disk, serial) == 0x20, "blk_disk.serial");
_Static_assert(__builtin_offsetof(struct blk_disk, writes) == 0x34, "blk_disk.writes");
_Static_assert(sizeof(struct blk_disk) == 0x38, "blk_disk");

/* shared state of Blk */
struct blk_state {
	struct device_control control;	/* 0x000 who holds the device, and counters */
	const struct blk_disk disk;	/* 0x1c0 What the handler needs to know of the image. */
	__u8 reserved_1f8[8];	/* 0x1f8 to the next field's place */
	struct virtqueue queue[16];	/* 0x200 virtqueues, in order of declaration */
};
_Static_assert(__builtin_offsetof(struct blk_state, control) == 0x0, "blk_state.control");
_Static_assert(__builtin_offsetof(struct blk_state, disk) == 0x1c0, "blk_state.disk");
_Static_assert(__builtin_offsetof(struct blk_state, reserved_1f8) == 0x1f8, "blk_state.reserved_1f8");
_Static_assert(__builtin_offsetof(struct blk_state, queue) == 0x200, "blk_state.queue");
_Static_assert(sizeof(struct blk_state) == 0x2600, "blk_state");

#endif /* SPLITVMM_BLK_GEN_H */
