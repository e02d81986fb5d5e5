/* A block request on its way through the handler: its chain taken apart, and its end. */
#ifndef SPLITVMM_BLK_WORK_H
#define SPLITVMM_BLK_WORK_H

#include "blk.gen.h"
#define QUEUES BLK_QUEUES
#include "../doorbell.h"

enum {
	PARTS = BLK_SEGMENTS + 2,		/* header, data, status; a power of two, to be a mask */
	TRANSFER_BYTES = 64 << 20,		/* of one request through the ring */
	RUN_BYTES = 4 << 20,			/* of a run: more is no faster, and late */
	HEADER_BYTES = sizeof(struct blk_request),
};

/* Requests that go on from each other, taken in one look, as one I/O: an open run, which may grow until it is
 * submitted.  Its buffers are in the list of its first request's tag. */
struct blk_run {
	__u32 requests;		/* 0: there is none */
	__u32 first, last;	/* tags */
	__u32 buffers;
	__u64 bytes;
	__u64 end;		/* where the next one would go on: bytes of the image */
	__u32 opcode;
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
	struct blk_run run;
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
	charge_step(serving);
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

/* Status and used entry of a request that went well. */
static __always_inline __u32 finish(struct serving *serving, __u64 status_gpa, __u16 head, __u16 slots,
				    __u64 written, __u64 moved)
{
	__u32 reason;
	__u8 *status = ram_at(serving->device, status_gpa, 1, &reason);

	if (!status)
		return reason;
	WRITE_ONCE(*status, STATUS_OK);
	reason = used_push(serving->device, serving->queue, head, slots, written + 1);
	if (reason)
		return reason;
	used_count(serving, moved);
	return 0;
}

#endif
