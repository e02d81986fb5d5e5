/* What makes a handler visit a queue: its doorbell, and completions of its requests in flight. */
#ifndef SPLITVMM_DOORBELL_H
#define SPLITVMM_DOORBELL_H

#include "visit.h"

/* A doorbell was rung; what was written is the queue's number.  A handler of queues ends in
 *
 *	DEVICE_HANDLER(doorbell, SHOUTER_LAYOUT_HASH)
 */
static __always_inline enum verdict doorbell(struct device *device, const struct access *access,
					     __u32 *reason)
{
	struct visit visit = { .serving.device = device };

	*reason = DECLINE_NOT_READY;
	if (access->value >= QUEUES || !serving_start(&visit.serving, access->value))
		return VERDICT_TO_USER;
	/* the result is used, or for BPF this would be no barrier */
	if (fetch_add(&visit.serving.queue->entry.doorbells, 1) != ~0ull && will_be_looked_at(&visit.serving))
		return VERDICT_HANDLED;
	return visit_apart(&visit, reason);
}

#ifndef __bpf__
/* A doorbell that the kernel half declined, before userspace sees it: this build may wait, and has no budget of time.
 * A Verdict, and the line that some of them ask for. */
int device_assist(struct device *device, const struct declined *declined, __s32 *line)
{
	struct visit visit = { .serving.device = device, .assisting = 1 };
	__u64 index = declined->access.value;
	__u32 reason;

	if (declined->reason == DECLINE_IO_FAILED ||	/* which Python does again */
	    index >= QUEUES || index >= LINES || !serving_start(&visit.serving, index))
		return VERDICT_TO_USER;
	*line = device->line[index];
	/* whatever the reason, it may have submitted something before, and found the ring's thread asleep */
	if (visit.serving.uring && uring_wake(visit.serving.uring))
		return VERDICT_TO_USER;
	return declined->reason == DECLINE_RING_ASLEEP ? VERDICT_HANDLED : visit_queue(&visit, &reason);
}
#endif

/* Requests of this queue may have come back: 1 ends the walk over the queues.  While userspace
 * holds it, userspace looks for itself before it gives it back. */
static long collect_queue(__u32 index, void *context)
{
	struct collecting *collecting = context;
	struct visit visit = { .serving.device = collecting->device, .serving.collecting = 1 };
	struct serving *serving = &visit.serving;
	__u32 reason;

	if (!serving_start(serving, index) || !serving->uring)
		return 1;
	if ((!uring_completions(serving->uring) && !uring_kicked(serving->uring)) ||
	    READ_ONCE(serving->queue->ownership.holder) != SIDE_KERNEL)
		return 0;
	if (goes_up(visit_apart(&visit, &reason)) && reason != DECLINE_HELD_BY_USER)
		upcall(collecting, index, reason);
	/* with any other reason userspace decides on that again */
	if (visit.interrupt && (!reason || reason == DECLINE_RING_ASLEEP))
		interrupt_later(collecting, index);
	return 0;
}

/* The queue that the message is of; natively all of them, which have one eventfd. */
static __always_inline void collect(struct collecting *collecting)
{
#ifdef __bpf__
	collect_queue(collecting->queue, collecting);
#else
	loop(QUEUES, collect_queue, collecting);
#endif
}

#endif
