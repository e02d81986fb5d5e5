/* Block requests through the ring: planned, committed, and taken back. */
#ifndef SPLITVMM_BLK_RING_H
#define SPLITVMM_BLK_RING_H

#include "blk_work.h"

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

/* Do an open run, in this build, which waits for the page cache to take it. */
static __always_inline void write_at_once(struct serving *serving, const struct blk_run *run)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct tag *first = &serving->uring->flight.tag[run->first & (URING_TAGS - 1)];
	struct come_back *back = &serving->work->tally.back;
	__s64 done = image_write(disk->image_fd, uring_iovecs(serving->uring, run->first), run->buffers, first->place,
				 disk->durable);

	if (done >= 0)
		WRITE_ONCE(serving->queue->entry.waited, serving->queue->entry.waited + run->requests);
	*back = (struct come_back){ .next = run->first + 1, .result = done < 0 ? -1 : (__s32)done, .run = first->run };
	while (back->next)
		complete_next(serving);
}

/* Submit an open run, as the one I/O that it is. */
static __always_inline void submit_run(struct serving *serving, const struct blk_run *run)
{
	const struct blk_disk *disk = &state_of(serving)->disk;
	struct uring *uring = serving->uring;
	const struct tag *first = &uring->flight.tag[run->first & (URING_TAGS - 1)];
	struct sqe *sqe = uring_entry(uring);

	sqe->opcode = run->opcode;
	sqe->off = first->place;
	switch (run->opcode) {
	case IO_FSYNC:
		sqe->rw_flags = FSYNC_DATASYNC;
		break;
	case IO_FALLOCATE:	/* length and mode are where others have address and length */
		sqe->addr = first->range;
		sqe->len = first->written;
		break;
	default:
		sqe->rw_flags = run->opcode == IO_WRITEV && disk->durable ? WRITE_DSYNC : 0;
		uring_transfer(uring, sqe, run->opcode, run->first, run->buffers);
	}
	uring_take_entry(uring, first, run->first, sqe);
}

static __always_inline void close_run(struct serving *serving)
{
	struct blk_work *work = work_of(serving);
	struct blk_run *run = &work->run;

	if (!run->requests || !serving->uring)
		return;
	if (run->requests > 1)
		serving->uring->flight.tag[run->first & (URING_TAGS - 1)].run = run->bytes;
	if (MAY_WAIT && run->opcode == IO_WRITEV && state_of(serving)->disk.writes == WRITES_AT_ONCE)
		write_at_once(serving, run);
	else
		submit_run(serving, run);
	run->requests = 0;
}

static __noinline long list_again(__u32 i, void *context)
{
	struct serving *serving = context;
	struct blk_run *run = &work_of(serving)->run;
	__u32 to = run->buffers + i;

	barrier_var(to);
	if (!serving->uring || to >= URING_SEGMENTS)
		return 1;
	uring_iovecs(serving->uring, run->first)[to] =
		uring_iovecs(serving->uring, run->last)[i & (URING_SEGMENTS - 1)];
	return 0;
}

/* May the planned request, of so many buffers, be a part of the open run? */
static __always_inline int goes_on(const struct blk_work *work, __u32 buffers)
{
	const struct blk_run *run = &work->run;

	if (!run->requests || run->opcode != work->opcode)
		return 0;
	if (work->opcode == IO_FSYNC)
		return 1;
	return work->opcode != IO_FALLOCATE && run->end == work->place && run->bytes + work->wanted <= RUN_BYTES &&
	       run->buffers + buffers <= URING_SEGMENTS;
}

/* The planned request, whose tag is taken, becomes the open run's last, or the first of a new one. */
static __always_inline void join_run(struct serving *serving, __u32 index, __u32 buffers)
{
	struct blk_work *work = work_of(serving);
	struct blk_run *run = &work->run;

	if (goes_on(work, buffers)) {
		serving->uring->flight.tag[run->last & (URING_TAGS - 1)].next = index + 1;
		run->last = index;
		if (buffers == 1)
			list_again(0, serving);
		else
			loop(buffers, list_again, serving);
		run->buffers += buffers;
	} else {
		close_run(serving);
		run->first = run->last = index;
		run->buffers = buffers;
		run->opcode = work->opcode;
		run->bytes = run->requests = 0;
	}
	run->requests++;
	run->bytes += work->wanted;
	run->end = work->place + work->wanted;
}

/* Have the planned request done, with those before it that it goes on from; 0, a reason, or SERVE_LATER. */
static __always_inline __u32 submit(struct serving *serving)
{
	struct blk_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 index = 0, buffers = work->parts - 2, last = work->parts - 1;
	struct tag *tag;

	if (!uring || !uring->wiring.ready)
		return DECLINE_NO_RING;
	barrier_var(last);	/* what is compared is what is used, for the verifier */
	if (last >= PARTS || buffers >= PARTS)
		return BLK_DECLINE_FRAMING;
	/* a request that cannot be answered is refused now, not when it comes back */
	if (!ram_holds(ram_layout(serving->device), work->part[last].gpa, 1))
		return DECLINE_OUTSIDE_RAM;
	tag = uring_tag(uring, &index);
	if (MAY_WAIT && !tag) {		/* the open run may be what has the tags, and be done now */
		close_run(serving);
		tag = uring_tag(uring, &index);
	}
	if (!tag)
		return wait_for_ring(serving);
	work->tag = index;
	if (work->opcode == IO_FSYNC || work->opcode == IO_FALLOCATE)
		buffers = 0;
	else if (buffers == 1)
		list_part(0, serving);
	else
		loop(buffers, list_part, serving);
	if (work->reason)
		return work->reason;
	tag->status = work->part[last].gpa;
	tag->place = work->place;
	tag->buffers = buffers;
	tag->wanted = work->wanted;
	tag->written = work->opcode == IO_FALLOCATE ? work->range_mode : work->written;
	tag->range = work->range_bytes;
	tag->head = work->common.walk.chain.head;
	tag->slots = work->common.walk.chain.slots;
	tag->kind = work->type + 1;
	serving_take_tag(serving, tag, index);
	join_run(serving, index, buffers);
	return 0;
}

/* A read or write of `bytes` through the ring. */
static __always_inline __u32 plan_transfer(struct serving *serving, __u64 place, __u64 bytes, int write)
{
	if (bytes > TRANSFER_BYTES)
		return BLK_DECLINE_TOO_LARGE;
	if ((place | bytes) & (state_of(serving)->disk.align - 1))
		return BLK_DECLINE_UNALIGNED;
	plan(work_of(serving), write ? IO_WRITEV : IO_READV, place, bytes, write ? 0 : bytes);
	return 0;
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

#endif
