/* virtio-blk: reads at once, and all other I/O through the ring. */
#include "host.h"
#include "blk/blk.c"
#define HAS_RINGS 1
#define STATE struct blk_state
#include "run.h"

/* of the setup's `device`, and of what a change says */
enum { IMAGE_IS_MAPPED = 1, READ_ONLY = 2, DURABLE = 4, WRITES_AT = 3, ALIGN = 1 << 5, LARGE_IMAGE = 1 << 6 };

static void set_disk(__u32 how)
{
	struct blk_disk *disk = (void *)&state->disk;

	*disk = (struct blk_disk){ .capacity = how & LARGE_IMAGE ? 1ull << 40 : 64 + (how >> 8 & 0xffff),
				   .image = how & IMAGE_IS_MAPPED ? 0 : IMAGE, .image_fd = IMAGE_FD,
				   .align = how & ALIGN ? 4096 : 1, .read_only = !!(how & READ_ONLY),
				   .durable = !!(how & DURABLE), .serial = "disk0", .writes = how >> WRITES_AT & 1 };
}

static void device_set_up(const struct setup_record *setup)
{
	set_disk(setup->device);
}

static void device_change(const struct record *record)
{
	if (world.inside || uring_in_flight(ring_of(0)) || uring_in_flight(ring_of(1)))
		return;		/* a disk changes while its device stands still */
	set_disk(record->b);
}

static int device_request(int queue, const struct record *record, struct part *part)
{
	static const __u32 types[] = { REQUEST_TYPE_IN, REQUEST_TYPE_OUT, REQUEST_TYPE_FLUSH, REQUEST_TYPE_GET_ID,
				       REQUEST_TYPE_DISCARD, REQUEST_TYPE_WRITE_ZEROES, REQUEST_TYPE_IN };
	static const __u8 counts[] = { 1, 2, 3, 1, 5, 33, BLK_SEGMENTS, BLK_SEGMENTS + 1 };
	static const __u32 lengths[] = { 512, 4096, 256, 1024, 16 << 10, 2 * CHUNK + 16384, 8192, 100 };
	const __u32 kind = record->a & 7, own = 0x7000 + 32 * (world.driver[queue].avail % 32);
	const __u32 sector = record->b & 0x80000000 ? record->b : record->b & 0xff;
	struct blk_request header = { .type = kind < 7 ? types[kind] : record->b, .sector = sector };
	int many = kind == 0 || kind == 1 || kind == 6, count = kind == 2 ? 0 : many ? counts[record->a >> 3 & 7] : kind != 7 && record->a & 0x100 ? 2 : 1;
	__u32 length = kind == 3 ? BLK_ID_BYTES : kind == 4 || kind == 5 ? sizeof(struct blk_range) : lengths[record->a >> 6 & 7];
	__u64 flat = DATA + 0x400 + (record->b >> 8 & 0x7f) * 256;

	guest_store(gpa_of(own), &header, sizeof(header));
	part[0] = (struct part){ gpa_of(own), HEADER_BYTES, 0 };
	length /= many || !(record->a & 0x100) ? 1 : 2;
	count = spread(part + 1, count, flat, length, kind == 0 || kind == 3 || kind >= 6);
	if (kind == 4 || kind == 5) {
		struct blk_range range = { sector, record->b >> 16 & 0xff, record->a >> 6 & 3 };

		guest_store(part[1].gpa, &range, sizeof(range));
	}
	part[count + 1] = (struct part){ gpa_of(record->a & 0x200 ? ELEMENT_BYTES + 8 : own + 24), 1, 1 };
	return count + 2;
}

static void device_served(int queue)
{
	(void)queue;
}

#include "apart.h"

static unsigned long long image_bytes(void)
{
	return state->disk.capacity * BLK_SECTOR;
}

static int image_may_change(void)
{
	return !state->disk.read_only;
}

static void device_check_entry(const struct sqe *sqe, __u64 bytes)
{
	const struct blk_disk *disk = &state->disk;
	int write = sqe->opcode == IO_WRITE || sqe->opcode == IO_WRITEV;

	require(sqe->opcode != IO_MADVISE || (sqe->addr >= IMAGE && sqe->addr + sqe->len <=
		IMAGE + image_bytes() + PAGE_BYTES - 1), "%u bytes at %#llx are to be mapped; the image is %llu bytes at %#llx",
		sqe->len, sqe->addr, image_bytes(), IMAGE);
	if (sqe->opcode == IO_MADVISE || sqe->opcode == IO_FSYNC)
		return;
	bytes = sqe->opcode == IO_FALLOCATE ? sqe->addr : bytes;
	require(sqe->off <= image_bytes() && bytes <= image_bytes() - sqe->off, "%llu bytes at %llu of the image; it has %llu",
		bytes, sqe->off, image_bytes());
	require(image_may_change() || (!write && sqe->opcode != IO_FALLOCATE), "a disk that is read-only is changed");
	require(!write || !disk->durable || sqe->rw_flags == WRITE_DSYNC, "a write that may be lost");
}

static int run_collector(int eventfd, int vm_fd, __u32 *upcalls, __u32 *interrupts)
{
	return device_collect(world.device, eventfd, vm_fd, upcalls, interrupts);
}
