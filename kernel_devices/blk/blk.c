/* virtio-blk on the exit path (VIRTIO 1.2, section 5.2): reads of what the page cache holds are
 * copied at once, all other I/O goes through the ring.  The rest is declined, and so is all that is
 * odd: the Python half knows what a driver's mistake must lead to, and a declined request is still
 * where it was. */
#include "blk.gen.h"
#define QUEUES BLK_QUEUES
#include "../doorbell.h"

enum {
	PARTS = BLK_SEGMENTS + 2,		/* header, data, status; a power of two, to be a mask */
	BUDGET_BYTES = 8 << 20,			/* one exit copies no more: preemption is off */
	TRANSFER_BYTES = 64 << 20,		/* of one request through the ring */
	HEADER_BYTES = sizeof(struct blk_request),
};

/* Working memory of one queue.  In a map and not on the stack, so that the verifier takes
 * every value as unknown and walks each loop once. */
struct blk_work {
	struct work common;
	struct segment part[PARTS];
	__u64 total;		/* bytes of the chain */
	__u64 copied;		/* bytes of this request's data done */
	__u64 image_at;		/* where they come from, in bytes of the image */
	__u32 parts;
	__u32 current;		/* part being copied */
	__u32 done;		/* bytes of it done */
	__u32 reason;		/* why one of the loops ended early, or 0 */
	__u64 place;		/* of a request through the ring: bytes of the image */
	__u64 range_bytes;
	__u32 range_mode;	/* of fallocate(2) */
	__u32 wanted;		/* result of the ring's that means success */
	__u32 written;		/* bytes of data for the guest */
	__u32 tag;
	__u32 type;		/* of the request */
	__u8 opcode;		/* IO_, or 0 if the request is done already */
};

DEVICE_SERVES(struct blk_state, struct blk_work)
DEVICE_URINGS(QUEUES)

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
	reason = chain_next(serving->device, serving->queue, &work->common.walk.chain, &segment);
	if (reason) {
		work->reason = reason;
		return 1;
	}
	if (!segment.length)
		return 0;
	work->part[index] = segment;
	work->total += segment.length;
	work->parts = index + 1;
	return work->common.walk.chain.ended & 1;	/* 6.1's verifier wants to see a truth value */
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

/* What a request through the ring is of; in the work, for want of stack. */
static __always_inline void plan(struct blk_work *work, __u8 opcode, __u64 place, __u32 wanted, __u32 written)
{
	work->opcode = opcode;
	work->place = place;
	work->wanted = wanted;
	work->written = written;
}

/* One data buffer, as the process has it, into the tag's list. */
static __noinline long list_part(__u32 i, void *context)
{
	struct serving *serving = context;
	struct blk_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 index = i + 1, length, align = state_of(serving)->disk.align;
	struct uring_iovec *buffer;
	__u64 base;

	if (!uring || index >= PARTS || index + 1 >= work->parts || i >= URING_SEGMENTS)
		return 1;
	length = work->part[index].length;
	base = ram_address(ram_layout(serving->device), uring->wiring.ram, work->part[index].gpa, length);
	if (!base)
		work->reason = DECLINE_OUTSIDE_RAM;
	else if ((base | length) & (align - 1))
		work->reason = BLK_DECLINE_UNALIGNED;
	if (work->reason)
		return 1;
	buffer = &uring_iovecs(uring, work->tag)[i];
	buffer->base = base;
	buffer->length = length;
	return 0;
}

/* Status and used entry of a request that went well. */
static __always_inline __u32 finish(struct serving *serving, __u64 status_gpa, __u16 head, __u16 slots,
				    __u64 written, __u64 moved)
{
	__u32 reason;
	__u8 *status = ram_at(serving->device, status_gpa, 1, &reason);

	if (!status)
		return reason;
	*status = STATUS_OK;
	reason = used_push(serving->device, serving->queue, head, slots, written + 1);
	if (reason)
		return reason;
	used_count(serving, moved);
	return 0;
}

/* A write that waits for the page cache to take it. */
static __always_inline __u32 write_at_once(struct serving *serving, const struct uring_iovec *list, __u32 buffers)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct blk_work *work = work_of(serving);

	if (image_write(disk->image_fd, list, buffers, work->place, disk->durable) != work->wanted)
		return DECLINE_IO_FAILED;
	return finish(serving, work->part[work->parts - 1].gpa, work->common.walk.chain.head, work->common.walk.chain.slots, 0, work->wanted);
}

/* Commit the planned request; 0, a reason, or SERVE_LATER. */
static __always_inline __u32 submit(struct serving *serving)
{
	struct blk_work *work = work_of(serving);
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct uring *uring = serving->uring;
	__u32 index = 0, buffers = work->parts - 2, last = work->parts - 1;
	struct tag *tag;
	struct sqe *sqe;

	if (!uring || !uring->wiring.ready)
		return DECLINE_NO_RING;
	barrier_var(last);	/* what is compared is what is used, for the verifier */
	if (last >= PARTS || buffers >= PARTS)
		return BLK_DECLINE_FRAMING;
	/* a request that cannot be answered is refused now, not when it comes back */
	if (!ram_holds(ram_layout(serving->device), work->part[last].gpa, 1))
		return DECLINE_OUTSIDE_RAM;
	tag = uring_tag(uring, &index);
	if (!tag)
		return uring_in_flight(uring) ? SERVE_LATER : DECLINE_BUSY;
	work->tag = index;
	sqe = uring_entry(uring);
	sqe->opcode = work->opcode;
	sqe->off = work->place;
	switch (work->opcode) {
	case IO_FSYNC:
		sqe->rw_flags = FSYNC_DATASYNC;
		break;
	case IO_FALLOCATE:	/* length and mode are where others have address and length */
		sqe->addr = work->range_bytes;
		sqe->len = work->range_mode;
		break;
	default:
		if (buffers == 1)
			list_part(0, serving);
		else
			loop(buffers, list_part, serving);
		if (work->reason)
			return work->reason;
		if (work->opcode == IO_WRITEV && disk->writes == WRITES_AT_ONCE)
			return write_at_once(serving, uring_iovecs(uring, index), buffers);
		sqe->rw_flags = work->opcode == IO_WRITEV && disk->durable ? WRITE_DSYNC : 0;
		uring_transfer(uring, sqe, work->opcode, index, buffers);
	}
	tag->status = work->part[last].gpa;
	tag->place = work->place;
	tag->buffers = work->opcode == IO_FSYNC || work->opcode == IO_FALLOCATE ? 0 : buffers;
	tag->wanted = work->wanted;
	tag->written = work->opcode == IO_FALLOCATE ? work->range_mode : work->written;
	tag->range = work->range_bytes;
	tag->head = work->common.walk.chain.head;
	tag->slots = work->common.walk.chain.slots;
	tag->kind = work->type + 1;
	uring_commit(uring, tag, index, sqe);
	return 0;
}

/* A read or write of `bytes` through the ring. */
static __always_inline __u32 plan_transfer(struct serving *serving, __u64 place, __u64 bytes, int write)
{
	if (bytes > TRANSFER_BYTES)
		return DECLINE_BUDGET;
	if ((place | bytes) & (state_of(serving)->disk.align - 1))
		return BLK_DECLINE_UNALIGNED;
	plan(work_of(serving), write ? IO_WRITEV : IO_READV, place, bytes, write ? 0 : bytes);
	return 0;
}

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
	if (!disk->image || serving->collecting)
		return plan_transfer(serving, work->image_at, bytes, 0);
	reason = DECLINE_BUDGET;
	if (bytes <= BUDGET_BYTES && work->common.tally.moved + bytes <= BUDGET_BYTES) {
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
	if (disk->writes == WRITES_DECLINED)
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

/* A read that missed: have its pages mapped, so that the next one does not.  A favour, not done
 * where it would mean waking the ring's thread. */
static __always_inline void map_again(struct serving *serving, struct tag *tag)
{
	__u64 image = state_of(serving)->disk.image, start = tag->place & ~(PAGE_BYTES - 1ull);
	struct uring *uring = serving->uring;
	struct tag *own;
	struct sqe *sqe;
	__u32 index;

	if (!image || !uring || uring_space(uring) < URING_ENTRIES / 2 ||
	    READ_ONCE(*uring_word(uring, uring->wiring.sq_flags)) & SQ_NEED_WAKEUP)
		return;
	own = uring_tag(uring, &index);
	if (!own)
		return;
	sqe = uring_entry(uring);
	sqe->opcode = IO_MADVISE;
	sqe->flags = 0;		/* no file */
	sqe->addr = image + start;
	sqe->len = (tag->place + tag->wanted - start + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	sqe->rw_flags = MADVISE_POPULATE_READ;
	own->kind = 0;
	uring_commit(uring, own, index, sqe);
}

/* What came back through the ring.  All that is not just as wanted is done again by userspace,
 * which finds out what is wrong, and what virtio makes of it. */
static __noinline __u32 complete_one(struct serving *serving, struct tag *tag, __s32 result)
{
	if (result < 0 || (__u32)result != tag->wanted)
		return DECLINE_IO_FAILED;
	if (tag->kind == REQUEST_TYPE_IN + 1)
		map_again(serving, tag);
	return finish(serving, tag->status, tag->head, tag->slots, tag->buffers ? tag->written : 0, tag->wanted);
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
	/* each request is all there is of it */
}

DEVICE_HANDLER(doorbell, BLK_LAYOUT_HASH)
DEVICE_COLLECTOR(collect)
