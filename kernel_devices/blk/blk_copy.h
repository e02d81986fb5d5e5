/* Reads of what the page cache holds: copied at once. */
#ifndef SPLITVMM_BLK_COPY_H
#define SPLITVMM_BLK_COPY_H

#include "blk_work.h"

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
	charge_bytes(serving, length);
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

#endif
