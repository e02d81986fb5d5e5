/* virtio-blk on the exit path (VIRTIO 1.2, section 5.2): reads of what the page cache holds are
 * copied at once, all other I/O goes through the ring.  The rest is declined, and so is all that is
 * odd: the Python half knows what a driver's mistake must lead to, and a declined request is still
 * where it was. */
#include "blk_copy.h"
#include "blk_ring.h"

static __always_inline __u32 check_range(struct serving *serving, __u64 sector, __u64 sectors)
{
	__u64 capacity = state_of(serving)->disk.capacity;

	return sector > capacity || sectors > capacity - sector ? BLK_DECLINE_OUT_OF_RANGE : 0;
}

/* From the page cache at once where that holds it, through the ring otherwise. */
static __always_inline __u32 serve_read(struct serving *serving, __u64 sector, __u64 bytes)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct blk_work *work = work_of(serving);
	__u32 reason;

	if (bytes == 0 || bytes % BLK_SECTOR)
		return BLK_DECLINE_FRAMING;
	reason = check_range(serving, sector, bytes / BLK_SECTOR);
	if (reason)
		return reason;
	work->image_at = sector * BLK_SECTOR;
	if (!disk->image)
		return plan_transfer(serving, work->image_at, bytes, 0);
	reason = DECLINE_BUDGET;
	if (may_copy(serving, bytes)) {
		reason = copy_data(serving, bytes);
		if (reason != BLK_DECLINE_NOT_RESIDENT)
			return reason;
	}
	if (!serving->uring || !serving->uring->wiring.ready)
		return reason;
	work->reason = 0;
	return plan_transfer(serving, work->image_at, bytes, 0);
}

static __always_inline __u32 serve_write(struct serving *serving, __u64 sector, __u64 bytes)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	__u32 reason;

	if (disk->read_only)
		return BLK_DECLINE_READ_ONLY;
	if (bytes == 0 || bytes % BLK_SECTOR)
		return BLK_DECLINE_FRAMING;
	if (disk->writes == WRITES_AT_ONCE && !MAY_WAIT)
		return BLK_DECLINE_PUNTED;
	reason = check_range(serving, sector, bytes / BLK_SECTOR);
	return reason ? reason : plan_transfer(serving, sector * BLK_SECTOR, bytes, 1);
}

/* What was completed before it is on the disk after it (5.2.6.2): writes in flight are not. */
static __always_inline __u32 serve_flush(struct serving *serving)
{
	plan(work_of(serving), IO_FSYNC, 0, 0, 0);
	return 0;
}

/* DISCARD or WRITE_ZEROES of one range (5.2.6.2), in one buffer. */
static __always_inline __u32 serve_range(struct serving *serving, __u32 type, __u64 bytes)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct blk_work *work = work_of(serving);
	const volatile __u64 *range;
	__u64 sector, rest;
	__u32 reason, unmap;

	if (disk->read_only)
		return BLK_DECLINE_READ_ONLY;
	if (bytes != sizeof(struct blk_range) || work->parts != 3 || disk->durable)
		return BLK_DECLINE_FRAMING;
	range = ram_at(serving->device, work->part[1].gpa, sizeof(struct blk_range), &reason);
	if (!range)
		return reason;
	sector = range[0];
	rest = range[1];	/* number of sectors, flags */
	unmap = rest >> 32;
	if ((__u32)rest == 0 || (__u32)rest > BLK_RANGE_SECTORS || unmap > (type == REQUEST_TYPE_WRITE_ZEROES))
		return BLK_DECLINE_FRAMING;
	reason = check_range(serving, sector, (__u32)rest);
	if (reason)
		return reason;
	work->range_bytes = (rest & 0xffffffff) * BLK_SECTOR;
	work->range_mode = type == REQUEST_TYPE_DISCARD || unmap ? BLK_PUNCH_HOLE : BLK_ZERO_RANGE;
	plan(work, IO_FALLOCATE, sector * BLK_SECTOR, 0, 0);
	return 0;
}

static __always_inline __u32 serve_id(struct serving *serving, __u64 bytes)
{
	__u32 reason;
	__u8 *to;

	if (bytes != BLK_ID_BYTES || work_of(serving)->parts != 3)
		return BLK_DECLINE_FRAMING;
	to = ram_at(serving->device, work_of(serving)->part[1].gpa, BLK_ID_BYTES, &reason);
	if (!to)
		return reason;
	__builtin_memcpy(to, (const void *)state_of(serving)->disk.serial, BLK_ID_BYTES);
	return 0;
}

/* Do the request that was collected, or plan it; 0 with `data` bytes, or a reason. */
static __always_inline __u32 serve_collected(struct serving *serving, __u64 *data)
{
	struct blk_work *work = work_of(serving);
	__u32 last = work->parts - 1, reason;
	const volatile __u64 *header;
	__u64 first, sector;

	barrier_var(last);	/* what is compared is what is used, for the verifier */
	/* 5.2.6.4 lets a driver cut a request anywhere; drivers cut it like this */
	if (last < 1 || last >= PARTS || work->part[0].length != HEADER_BYTES ||
	    work->part[0].writable || work->part[last].length != 1 || !work->part[last].writable)
		return BLK_DECLINE_FRAMING;
	header = ram_at(serving->device, work->part[0].gpa, HEADER_BYTES, &reason);
	if (!header)
		return reason;
	first = header[0];
	sector = header[1];
	*data = work->total - HEADER_BYTES - 1;
	work->type = first;
	switch ((__u32)first) {
	case REQUEST_TYPE_IN:
	case REQUEST_TYPE_GET_ID:
		if (!work->part[1].writable)
			return BLK_DECLINE_FRAMING;
		return (__u32)first == REQUEST_TYPE_IN ? serve_read(serving, sector, *data)
						       : serve_id(serving, *data);
	case REQUEST_TYPE_OUT:
		if (work->part[(last - 1) & (PARTS - 1)].writable)
			return BLK_DECLINE_FRAMING;
		return serve_write(serving, sector, *data);
	case REQUEST_TYPE_FLUSH:
		return work->parts == 2 ? serve_flush(serving) : BLK_DECLINE_FRAMING;
	case REQUEST_TYPE_DISCARD:
	case REQUEST_TYPE_WRITE_ZEROES:
		if (work->part[(last - 1) & (PARTS - 1)].writable)
			return BLK_DECLINE_FRAMING;
		return serve_range(serving, first, *data);
	}
	return BLK_DECLINE_OTHER_REQUEST;
}

/* The queue's next request: 0 and used, or a reason and as it was. */
static __noinline __u32 serve_next(struct serving *serving)
{
	struct blk_work *work = work_of(serving);
	__u32 reason, last;
	__u64 data = 0;

	reason = chain_start(serving->device, serving->queue, &work->common.walk.chain);
	if (reason)
		return reason;
	work->parts = work->reason = work->opcode = 0;
	work->total = 0;
	/* header, data and status, and then as many more; one step enters an indirect table */
	if (!collect_part(0, serving) && !collect_part(1, serving) && !collect_part(2, serving))
		loop(PARTS - 1, collect_part, serving);
	if (work->reason)
		return work->reason;
	if (!work->common.walk.chain.ended)
		return BLK_DECLINE_FRAMING;
	reason = serve_collected(serving, &data);
	if (reason)
		return reason;
	last = work->parts - 1;
	barrier_var(last);
	if (last >= PARTS)
		return BLK_DECLINE_FRAMING;
	reason = work->opcode ? submit(serving) :
		 finish(serving, work->part[last].gpa, work->common.walk.chain.head, work->common.walk.chain.slots, data, data);
	if (!reason)
		avail_take(serving->queue, &work->common.walk.chain);
	return reason;
}

static __noinline void after_serving(struct serving *serving)
{
	close_run(serving);
}

DEVICE_HANDLER(doorbell, BLK_LAYOUT_HASH)
DEVICE_COLLECTOR(collect)
