/* A look at a virtqueue, from entering to leaving: because its doorbell was rung, or because
 * requests in flight have come back.  A device defines
 *
 *   DEVICE_SERVES()   its state, and its queues' working memory; and either of
 *   DEVICE_URINGS(), DEVICE_AT_ONCE
 *   serve_next()      one request: completed with used_push() and used_count(), or committed to
 *                     the ring; then avail_take().  Else a reason, and it is as it was found;
 *                     or SERVE_LATER, if only what is in flight stands in its way
 *   complete_one()    what came back: used_push() and used_count(), or a reason to have userspace
 *                     do the request again
 *   after_serving()   whatever else there is to commit, once all that waits has been served
 *
 * DEVICE_AT_ONCE defines the last two. */
#ifndef SPLITVMM_DOORBELL_H
#define SPLITVMM_DOORBELL_H

#include "uring.h"
#include "virtqueue.h"

enum {
	ROUNDS = 8,		/* looks at a queue that is filled while it is served */
	SHOWN_AT_ONCE = 4,	/* requests committed to the ring before it is told */
	SERVE_LATER = 0xffff,	/* no reason: the next completion serves on */
};

/* What one doorbell has done so far; in the device's scratch memory. */
struct tally {
	__u64 start_ns;
	__u64 moved;		/* bytes */
	__u64 requests;
	__u64 counted_bytes;	/* of those, already in the queue's counters */
	__u64 counted_requests;
	__u32 reason;		/* 0, or why the queue's next request is declined */
	__u32 unpublished;	/* used entries that the driver cannot see yet */
	__u32 served;		/* since the ring was last shown some */
	__u32 stalled;		/* requests wait for those in flight */
	__u32 interrupt;	/* the driver wants one */
	__u32 asleep;		/* the ring has requests, and its thread must be woken */
	__u32 kick_collector;	/* whoever collects shall look at the queue */
	__u32 failed;		/* 0, or why a request that came back is userspace's now */
};

/* A walk along a chain whose buffers all go one way (walk.h). */
struct walk {
	struct chain chain;
	__u64 total;		/* bytes of the chain */
	__u64 first;		/* its first buffer: guest-physical, */
	__u32 first_bytes;	/* and how long */
	__u32 parts;
	__u32 tag;		/* whose list has the buffers, if there is an io_uring */
	__u32 reason;		/* why the walk ended early, or 0 */
	__u32 framing_reason;	/* that reason, for buffers that are not as wanted */
	__u32 writable;		/* what they must be */
};

enum { WALK_PARTS = 32 };	/* most buffers of a chain; a power of two, to be a mask */

/* What every device's working memory of a queue begins with. */
struct work {
	struct tally tally;
	struct walk walk;
};

/* A queue being served; on the stack, so only pointers. */
struct serving {
	struct device *device;
	void *state;
	struct virtqueue *queue;
	struct work *work;
	struct uring *uring;	/* NULL where nothing is asynchronous */
	__u32 index;		/* the queue's number */
	__u32 collecting;	/* not on a vCPU's thread, and interrupts may be off */
};

/* A look at it, from entering to leaving: also what outlives the queue's lock. */
struct visit {
	struct serving serving;
	__u32 generation;	/* of the queue when we entered */
	__u32 drained;		/* the queue was found empty, and its lock let go */
	__u32 interrupt;	/* of the tally's, once that is no more ours */
	__u32 asleep, kick_collector;
};

/* The verifier walks each function and each loop's step once.  The first step of a loop is
 * called directly where one is what there usually is: a loop calls its step through a pointer,
 * which costs a retpoline each time. */
static __noinline __u32 serve_next(struct serving *serving);
static __noinline __u32 complete_one(struct serving *serving, struct tag *tag, __s32 result);
static __noinline void after_serving(struct serving *serving);
static __always_inline int serving_start(struct serving *serving, __u32 index);

/* The device's own part, of any one request.  In the BPF build the verifier walks it apart, once, so
 * it finds its own way to the queue: a few look-ups of array elements, which are inlined. */
#ifdef __bpf__
__apart __u32 serve_next_apart(__u32 index, __u32 collecting)
{
	struct device device = {};
	struct serving serving = { .device = &device, .collecting = collecting };

	return serving_start(&serving, index) ? serve_next(&serving) : DECLINE_NOT_READY;
}

__apart __u32 complete_one_apart(__u32 index, __u32 collecting, __u32 tag, __s32 result)
{
	struct device device = {};
	struct serving serving = { .device = &device, .collecting = collecting };

	if (!serving_start(&serving, index) || !serving.uring)
		return DECLINE_NOT_READY;
	return complete_one(&serving, &serving.uring->flight.tag[tag & (URING_TAGS - 1)], result);
}
#else
#define serve_next_apart(index, collecting)	serve_next(serving)
#define complete_one_apart(index, collecting, number, result)	complete_one(serving, tag, result)
#endif

static __always_inline void used_count(struct serving *serving, __u64 bytes)
{
	serving->work->tally.moved += bytes;
	serving->work->tally.requests++;
	serving->work->tally.unpublished = 1;
}

/* io_uring goes on with a read on the thread that submitted it: two would get packets out of order.
 * So without a polling thread, only the one that collects submits reads. */
static __always_inline int may_read(struct serving *serving)
{
	struct uring *uring = serving->uring;

	if (uring->wiring.polled || serving->collecting)
		return 1;
	uring->flight.kicks_seen = uring->wiring.kicks - 1;	/* so that it counts as asked */
	serving->work->tally.kick_collector = 1;
	return 0;
}

static long serve_one(__u32 i, void *context)
{
	struct serving *serving = context;
	__u32 reason;

	if (!avail_more(serving->device, serving->queue))
		return 1;
	reason = serve_next_apart(serving->index, serving->collecting);
	if (reason == SERVE_LATER)
		serving->work->tally.stalled = 1;
	else
		serving->work->tally.reason = reason;
	/* the ring's thread may start on the first ones while we prepare the others */
	if (serving->uring && !(++serving->work->tally.served % SHOWN_AT_ONCE) &&
	    serving->uring->wiring.ready && uring_submit(serving->uring))
		serving->work->tally.asleep = 1;
	return reason != 0;
}

static long collect_one(__u32 i, void *context)
{
	struct serving *serving = context;
	struct uring *uring = serving->uring;
	__u32 index, reason;
	struct tag *tag;
	__s32 result;

	if (!uring || !uring_completions(uring))
		return 1;
	tag = uring_take(uring, &index, &result);
	if (!tag)
		return 0;
	reason = tag->kind ? complete_one_apart(serving->index, serving->collecting, index, result) : 0;
	if (!reason) {
		uring_release(uring, tag, index);
	} else {
		tag->state = TAG_STATE_FAILED;
		uring->flight.failed++;
		serving->work->tally.failed = reason;
	}
	return 0;
}

/* Take what came back, serve what waits, and show the driver what is done. */
static __always_inline __u32 serve_waiting(struct serving *serving)
{
	struct tally *tally = &serving->work->tally;
	__u32 reason;
	__s32 waiting;

	if (serving->uring)
		serving->uring->flight.kicks_seen = READ_ONCE(serving->uring->wiring.kicks);
	if (serving->uring && !collect_one(0, serving))
		loop(URING_COMPLETIONS - 1, collect_one, serving);
	waiting = avail_waiting(serving->device, serving->queue, &reason);
	if (waiting < 0)
		return reason;
	tally->stalled = 0;
	tally->reason = 0;
	if (waiting > 0 && !serve_one(0, serving))
		loop(waiting - 1, serve_one, serving);
	after_serving(serving);
	if (serving->uring && serving->uring->wiring.ready && uring_submit(serving->uring))
		serving->work->tally.asleep = 1;
	if (!tally->reason)
		tally->reason = tally->failed;
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
	struct tally *tally = &serving->work->tally;
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

/* What outlives the queue's lock. */
static __always_inline void keep_outcome(struct visit *visit)
{
	struct tally *tally = &visit->serving.work->tally;

	visit->interrupt = READ_ONCE(tally->interrupt);
	visit->asleep = READ_ONCE(tally->asleep);
	visit->kick_collector = READ_ONCE(tally->kick_collector);
}

/* The driver wants an interrupt: said to whoever runs us, or through the ring. */
static __always_inline void interrupt_wanted(struct serving *serving)
{
	struct uring *uring = serving->uring;

	serving->work->tally.interrupt = 1;
	if (!uring || !uring->wiring.raises)
		return;
	uring_raise(uring);
	if (uring_submit(uring))
		serving->work->tally.asleep = 1;
}

/* Whoever collects what is in flight will look at the queue, soon enough to do without a doorbell until
 * then: a driver that is faster than the ring rings once for many. */
static __always_inline int visited_soon(struct serving *serving)
{
	struct uring *uring = serving->uring;

	return uring && uring->wiring.lazy_notify && uring_in_flight(uring) > uring->flight.failed;
}

/* One look at the queue; 1 ends the rounds.  Nothing behind the lock is touched once it is let go. */
static __noinline long serve_round(__u32 i, void *context)
{
	struct visit *visit = context;
	struct serving *serving = &visit->serving;
	struct virtqueue *queue = serving->queue;
	__u32 seen = READ_ONCE(queue->entry.rings), reason;

	serving->work->tally.reason = serve_waiting(serving);
	if (serving->work->tally.reason)
		return 1;
	if (!visited_soon(serving))
		enable_notify(serving->device, queue);
	/* Full barrier between asking for a doorbell and looking again; partner: the driver makes
	 * a request available and then reads what we asked for (2.7.13.4.1, 2.8.21.3.1).  It also
	 * stands between publishing and reading the driver's wish (2.7.7.2). */
	if (fetch_add(&queue->entry.rings, 0) == 0)
		return 1;
	if (!serving->work->tally.stalled && avail_waiting(serving->device, queue, &reason))
		return 0;	/* more of them, or a reason that the next round finds again */
	/* Taken while we are inside: decline, and leave the interrupt to userspace, which decides by
	 * `unsignalled` as we leave it.  A take that comes later waits until we have interrupted. */
	if (READ_ONCE(queue->ownership.generation) != visit->generation) {
		serving->work->tally.reason = DECLINE_HELD_BY_USER;
		return 1;
	}
	if (serving->work->tally.requests != serving->work->tally.counted_requests)
		interrupt_cause(serving->device, serving->queue);
	if (used_wants_interrupt(serving->device, queue))
		interrupt_wanted(serving);
	count_served(serving);
	keep_outcome(visit);
	/* Let go, unless a doorbell was rung meanwhile: whoever rang it left it to us. */
	visit->drained = fetch_add(&queue->entry.rings, -seen) == seen;
	return visit->drained;
}

/* With the queue's lock: serve, and let go of it. */
static __always_inline __u32 serve_locked(struct visit *visit)
{
	struct serving *serving = &visit->serving;
	struct tally *tally = &serving->work->tally;
	__u32 reason = DECLINE_NOT_READY;

	__builtin_memset(tally, 0, sizeof(*tally));
	tally->start_ns = now_ns();
	keep_outcome(visit);	/* unknown to the verifier from here on, so that it walks no more often */
	if (READ_ONCE(serving->queue->setup.ready)) {
		if (!serve_round(0, visit))
			loop(ROUNDS - 1, serve_round, visit);
		if (visit->drained)
			return 0;
		reason = tally->reason ? tally->reason : DECLINE_BUSY;
	}
	if (tally->requests != tally->counted_requests)
		interrupt_cause(serving->device, serving->queue);
	count_served(serving);
	keep_outcome(visit);
	exchange(&serving->queue->entry.rings, 0);
	return reason;
}

/* The device's state, and the working memory of each queue, which begins with a struct work;
 * state_of() and work_of() are what a device reads them by.  Either DEVICE_URINGS(QUEUES) or
 * DEVICE_AT_ONCE goes with it. */
#define DEVICE_SERVES(state_type, work_type)						\
	DEVICE_STATE(state_type)							\
	DEVICE_SCRATCH(work_type, QUEUES)						\
	static __always_inline state_type *state_of(struct serving *serving)		\
	{										\
		return serving->state;							\
	}										\
	static __always_inline work_type *work_of(struct serving *serving)		\
	{										\
		return (work_type *)serving->work;					\
	}										\
	static __always_inline struct uring *uring_of(struct device *device, __u32 index); \
	static __always_inline int serving_start(struct serving *serving, __u32 index)	\
	{										\
		state_type *state = device_state(serving->device);			\
		work_type *work = device_scratch(serving->device, index);		\
											\
		if (!state || !work || index >= QUEUES)					\
			return 0;							\
		serving->state = state;							\
		serving->index = index;							\
		serving->queue = &state->queue[index];					\
		serving->work = (struct work *)work;					\
		serving->uring = uring_of(serving->device, index);			\
		return 1;								\
	}

/* Each queue has an io_uring. */
#define DEVICE_URINGS(count)								\
	URING_MEMORY(count)								\
	static __always_inline struct uring *uring_of(struct device *device, __u32 index) \
	{										\
		return uring_memory(device, index);					\
	}

/* A device that does everything at once. */
#define DEVICE_AT_ONCE									\
	static __always_inline struct uring *uring_of(struct device *device, __u32 index) \
	{										\
		return NULL;								\
	}										\
	static __noinline __u32 complete_one(struct serving *serving, struct tag *tag, __s32 result) \
	{										\
		return 0;								\
	}										\
	static __noinline void after_serving(struct serving *serving)			\
	{										\
	}

/* Look at a queue: HANDLED if it is empty, or another handler will see to it. */
static __always_inline enum verdict visit_queue(struct visit *visit, __u32 *reason)
{
	struct serving *serving = &visit->serving;
	struct virtqueue *queue = serving->queue;

	*reason = DECLINE_HELD_BY_USER;
	if (enter(&queue->ownership, &queue->entry, &visit->generation)) {
		*reason = 0;
		if (fetch_add(&queue->entry.rings, 1) == 0)
			*reason = serve_locked(visit);
		leave(&queue->entry);
	}
	if (visit->kick_collector && serving->uring)
		uring_signal(serving->uring);	/* with the lock let go, or they would find it taken */
	if (!*reason && visit->asleep)
		*reason = DECLINE_RING_ASLEEP;
	if (!*reason)
		return visit->interrupt ? VERDICT_HANDLED_INTERRUPT : VERDICT_HANDLED;
	count_decline(&queue->entry, *reason);
	return VERDICT_TO_USER;
}

/* A doorbell was rung; what was written is the queue's number. */
static __always_inline enum verdict doorbell(struct device *device, const struct access *access,
					     __u32 *reason)
{
	struct visit visit = { .serving.device = device };

	*reason = DECLINE_NOT_READY;
	if (access->value >= QUEUES || !serving_start(&visit.serving, access->value))
		return VERDICT_TO_USER;
	fetch_add(&visit.serving.queue->entry.doorbells, 1);
	return visit_queue(&visit, reason);
}

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
	if (visit_queue(&visit, &reason) == VERDICT_TO_USER && reason != DECLINE_HELD_BY_USER)
		upcall(collecting, index, reason);
	else if (visit.interrupt)
		collecting->interrupts |= 1u << (index & 31);
	return 0;
}

/* All queues of the device. */
static __always_inline void collect(struct collecting *collecting)
{
	loop(QUEUES, collect_queue, collecting);
}

#endif
