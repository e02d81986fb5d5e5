/* A doorbell of a virtqueue, from entering to leaving.  The device says what serving one
 * request means: it defines serve_next(), which either completes the queue's next request
 * with used_push() and used_count(), or returns a reason and leaves it as it was found. */
#ifndef SPLITVMM_DOORBELL_H
#define SPLITVMM_DOORBELL_H

#include "virtqueue.h"

enum { ROUNDS = 8 };	/* looks at a queue that is filled while it is served */

/* What one doorbell has done so far; in the device's scratch memory. */
struct tally {
	__u64 start_ns;
	__u64 moved;		/* bytes */
	__u64 requests;
	__u64 counted_bytes;	/* of those, already in the queue's counters */
	__u64 counted_requests;
	__u32 reason;		/* 0, or why the queue's next request is declined */
	__u32 unpublished;	/* used entries that the driver cannot see yet */
};

/* On the stack: only pointers and what outlives the queue's lock. */
struct serving {
	struct device *device;
	void *state;
	struct virtqueue *queue;
	void *work;
	struct tally *tally;
	__u32 generation;	/* of the queue when we entered */
	__u32 drained;		/* the queue was found empty, and its lock let go */
	__u32 interrupt;	/* the driver wants one */
};

/* The verifier walks each function and each loop's step once.  The first step of a loop is
 * called directly where one is what there usually is: a loop calls its step through a pointer,
 * which costs a retpoline each time. */
static __noinline __u32 serve_next(struct serving *serving);

static __always_inline void used_count(struct serving *serving, __u64 bytes)
{
	serving->tally->moved += bytes;
	serving->tally->requests++;
	serving->tally->unpublished = 1;
}

static long serve_one(__u32 i, void *context)
{
	struct serving *serving = context;

	serving->tally->reason = serve_next(serving);
	return serving->tally->reason != 0;
}

/* Serve what waits, and show the driver what is done. */
static __always_inline __u32 serve_waiting(struct serving *serving)
{
	struct tally *tally = serving->tally;
	__u32 reason;
	__s32 waiting = avail_waiting(serving->device, serving->queue, &reason);

	if (waiting < 0)
		return reason;
	if (waiting == 1)
		tally->reason = serve_next(serving);
	else
		loop(waiting, serve_one, serving);
	if (!tally->unpublished)
		return tally->reason;
	tally->unpublished = 0;
	reason = used_publish(serving->device, serving->queue);
	return tally->reason ? tally->reason : reason;
}

/* Into the queue's counters, readable as one by anyone who watches `sequence`. */
static __always_inline void count_served(struct serving *serving)
{
	struct entry *entry = &serving->queue->entry;
	struct tally *tally = serving->tally;
	__u64 now = now_ns();

	WRITE_ONCE(entry->sequence, entry->sequence + 1);
	barrier();
	entry->handled += tally->requests - tally->counted_requests;
	entry->bytes += tally->moved - tally->counted_bytes;
	entry->busy_ns += now - tally->start_ns;
	barrier();
	WRITE_ONCE(entry->sequence, entry->sequence + 1);
	tally->counted_requests = tally->requests;
	tally->counted_bytes = tally->moved;
	tally->start_ns = now;
}

/* One look at the queue; 1 ends the rounds.  Nothing behind the lock is touched once it is let go. */
static __noinline long serve_round(__u32 i, void *context)
{
	struct serving *serving = context;
	struct virtqueue *queue = serving->queue;
	__u32 seen = READ_ONCE(queue->entry.rings), reason;

	serving->tally->reason = serve_waiting(serving);
	if (serving->tally->reason)
		return 1;
	avail_event_write(serving->device, queue);
	/* Full barrier between asking for a doorbell and looking again; partner: the driver
	 * moves the avail index and then reads avail_event (2.7.13.4.1).  It also stands
	 * between publishing and reading used_event (2.7.7.2). */
	if (fetch_add(&queue->entry.rings, 0) == 0)
		return 1;
	if (avail_waiting(serving->device, queue, &reason))
		return 0;	/* more of them, or a reason that the next round finds again */
	/* Taken while we are inside: decline, and leave the interrupt to userspace, which decides by
	 * `signalled` as we leave it.  A take that comes later waits until we have interrupted. */
	if (READ_ONCE(queue->ownership.generation) != serving->generation) {
		serving->tally->reason = DECLINE_HELD_BY_USER;
		return 1;
	}
	if (serving->tally->requests != serving->tally->counted_requests)
		interrupt_cause(serving->device);
	if (used_wants_interrupt(serving->device, queue))
		serving->interrupt = 1;
	count_served(serving);
	/* Let go, unless a doorbell was rung meanwhile: whoever rang it left it to us. */
	serving->drained = fetch_add(&queue->entry.rings, -seen) == seen;
	return serving->drained;
}

/* With the queue's lock: serve, and let go of it. */
static __always_inline __u32 serve_locked(struct serving *serving)
{
	struct tally *tally = serving->tally;
	__u32 reason = DECLINE_NOT_READY;

	__builtin_memset(tally, 0, sizeof(*tally));
	tally->start_ns = now_ns();
	if (READ_ONCE(serving->queue->setup.ready)) {
		if (!serve_round(0, serving))
			loop(ROUNDS - 1, serve_round, serving);
		if (serving->drained)
			return 0;
		reason = tally->reason ? tally->reason : DECLINE_BUSY;
	}
	if (tally->requests != tally->counted_requests)
		interrupt_cause(serving->device);
	count_served(serving);
	exchange(&serving->queue->entry.rings, 0);
	return reason;
}

/* A doorbell was rung: HANDLED if the queue is empty or another handler will see to it. */
static __always_inline enum verdict doorbell(struct serving *serving, __u32 *reason)
{
	struct virtqueue *queue = serving->queue;

	fetch_add(&queue->entry.doorbells, 1);
	*reason = DECLINE_HELD_BY_USER;
	if (enter(&queue->ownership, &queue->entry, &serving->generation)) {
		*reason = 0;
		if (fetch_add(&queue->entry.rings, 1) == 0)
			*reason = serve_locked(serving);
		leave(&queue->entry);
	}
	if (!*reason)
		return serving->interrupt ? VERDICT_HANDLED_INTERRUPT : VERDICT_HANDLED;
	count_decline(&queue->entry, *reason);
	return VERDICT_TO_USER;
}

#endif
