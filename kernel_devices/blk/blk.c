/* virtio-blk on the exit path (VIRTIO 1.2, section 5.2): reads of what the page cache holds,
 * and GET_ID.  The rest is declined, and so is all that is odd: the Python half knows what a
 * driver's mistake must lead to, and a declined request is still where it was. */
#include "../doorbell.h"
#include "blk.gen.h"

enum {
	PARTS = BLK_SEGMENTS + 2,		/* header, data, status */
	BUDGET_BYTES = 8 << 20,			/* one exit copies no more: preemption is off */
	HEADER_BYTES = sizeof(struct blk_request),
};

/* Working memory of one queue.  In a map and not on the stack, so that the verifier takes
 * every value as unknown and walks each loop once. */
struct blk_work {
	struct tally tally;
	struct chain chain;
	struct segment part[PARTS];
	__u64 total;		/* bytes of the chain */
	__u64 copied;		/* bytes of this request's data done */
	__u64 image_at;		/* where they come from, in bytes of the image */
	__u32 parts;
	__u32 current;		/* part being copied */
	__u32 done;		/* bytes of it done */
	__u32 reason;		/* why one of the loops ended early, or 0 */
};

DEVICE_STATE(struct blk_state)
DEVICE_SCRATCH(struct blk_work, BLK_QUEUES)

static __always_inline struct blk_work *work_of(struct serving *serving)
{
	return serving->work;
}

static __always_inline const struct blk_state *state_of(struct serving *serving)
{
	return serving->state;
}

static __noinline long collect_part(__u32 i, void *context)
{
	struct serving *serving = context;
	struct blk_work *work = work_of(serving);
	__u32 index = work->parts, reason;
	struct segment segment;

	if (index >= PARTS) {
		work->reason = BLK_DECLINE_FRAMING;
		return 1;
	}
	reason = chain_next(serving->device, serving->queue, &work->chain, &segment);
	if (reason) {
		work->reason = reason;
		return 1;
	}
	if (!segment.length)
		return 0;
	work->part[index] = segment;
	work->total += segment.length;
	work->parts = index + 1;
	return work->chain.ended;
}

static __noinline long copy_part(__u32 i, void *context)
{
	struct serving *serving = context;
	struct blk_work *work = work_of(serving);
	__u32 index = work->current, done = work->done, length;
	void *to;

	if (index >= PARTS || index + 1 >= work->parts)
		return 1;
	length = work->part[index].length - done;
	if (length > CHUNK)
		length = CHUNK;
	to = ram_at(serving->device, work->part[index].gpa + done, length, &work->reason);
	if (!to)
		return 1;
	if (image_read(to, length, state_of(serving)->disk.image, state_of(serving)->disk.image_fd,
		       work->image_at + work->copied)) {
		work->reason = BLK_DECLINE_NOT_RESIDENT;
		return 1;
	}
	work->copied += length;
	done += length;
	if (done != work->part[index].length) {
		work->done = done;
		return 0;
	}
	work->done = 0;
	work->current = index + 1;
	return index + 2 >= work->parts;	/* the status is left */
}

/* Copy `bytes` of data, all of it or a reason. */
static __always_inline __u32 copy_data(struct serving *serving, __u64 bytes)
{
	struct blk_work *work = work_of(serving);

	work->copied = 0;
	work->current = 1;
	work->done = 0;
	if (!copy_part(0, serving))
		loop(work->parts + bytes / CHUNK, copy_part, serving);
	if (work->reason)
		return work->reason;
	return work->copied == bytes ? 0 : BLK_DECLINE_FRAMING;
}

static __always_inline __u32 serve_read(struct serving *serving, __u64 sector, __u64 bytes)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	__u64 capacity = disk->capacity, sectors = bytes / BLK_SECTOR;

	if (bytes == 0 || bytes % BLK_SECTOR)
		return BLK_DECLINE_FRAMING;
	if (sector > capacity || sectors > capacity - sector)
		return BLK_DECLINE_OUT_OF_RANGE;
	if (!disk->image)
		return BLK_DECLINE_UNCACHED;
	if (bytes > BUDGET_BYTES || work_of(serving)->tally.moved + bytes > BUDGET_BYTES)
		return DECLINE_BUDGET;
	work_of(serving)->image_at = sector * BLK_SECTOR;
	return copy_data(serving, bytes);
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

/* Serve the request that was collected; 0 with `data` bytes moved, or a reason. */
static __always_inline __u32 serve_collected(struct serving *serving, __u64 *data)
{
	struct blk_work *work = work_of(serving);
	__u32 last = work->parts - 1, reason;
	const volatile __u64 *header;
	__u64 first, sector;

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
	switch ((__u32)first) {
	case REQUEST_TYPE_IN:
	case REQUEST_TYPE_GET_ID:
		if (!work->part[1].writable)
			return BLK_DECLINE_FRAMING;
		return (__u32)first == REQUEST_TYPE_IN ? serve_read(serving, sector, *data)
						       : serve_id(serving, *data);
	case REQUEST_TYPE_OUT:
		return BLK_DECLINE_WRITE;
	case REQUEST_TYPE_FLUSH:
		return BLK_DECLINE_FLUSH;
	}
	return BLK_DECLINE_OTHER_REQUEST;
}

/* The queue's next request: 0 and used, or a reason and as it was. */
static __noinline __u32 serve_next(struct serving *serving)
{
	struct blk_work *work = work_of(serving);
	__u32 reason, last;
	__u64 data = 0;
	__u8 *status;
	__u16 head = 0;

	reason = chain_start(serving->device, serving->queue, &work->chain, &head);
	if (reason)
		return reason;
	work->parts = work->reason = 0;
	work->total = 0;
	/* header, data and status, and then as many more; one step enters an indirect table */
	if (!collect_part(0, serving) && !collect_part(1, serving) && !collect_part(2, serving))
		loop(PARTS - 1, collect_part, serving);
	if (work->reason)
		return work->reason;
	if (!work->chain.ended)
		return BLK_DECLINE_FRAMING;
	reason = serve_collected(serving, &data);
	if (reason)
		return reason;
	last = work->parts - 1;
	if (last >= PARTS)
		return BLK_DECLINE_FRAMING;
	status = ram_at(serving->device, work->part[last].gpa, 1, &reason);
	if (!status)
		return reason;
	*status = STATUS_OK;
	reason = used_push(serving->device, serving->queue, head, data + 1);
	if (reason)
		return reason;
	used_count(serving, data);
	return 0;
}

static __always_inline enum verdict blk_notify(struct device *device, const struct access *access,
					     __u32 *reason)
{
	struct blk_state *state = device_state(device);
	__u32 index = access->value;
	struct serving serving = { .device = device, .state = state };

	*reason = DECLINE_NOT_READY;
	if (!state || access->value >= BLK_QUEUES)
		return VERDICT_TO_USER;
	serving.queue = &state->queue[index];
	serving.work = device_scratch(device, index);
	if (!serving.work)
		return VERDICT_TO_USER;
	serving.tally = &work_of(&serving)->tally;
	return doorbell(&serving, reason);
}

DEVICE_HANDLER(blk_notify, BLK_LAYOUT_HASH)
