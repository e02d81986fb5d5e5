/* A virtqueue being served: what a device's handler is written against.  A device defines
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
#ifndef SPLITVMM_SERVING_H
#define SPLITVMM_SERVING_H

#include "uring.h"
#include "virtqueue.h"

enum {
	SERVE_LATER = 0xffff,	/* no reason: the next completion serves on */
	STEPS_PER_CLOCK = 64,	/* work between two looks at the clock: at some 0.1 us each */
	STEP_BYTES = 1024,	/* copied in about the time of one step */
};

/* Requests that came back as one: one alone, or a run (vmm/sync/PROTOCOL.md). */
struct come_back {
	__u32 next;		/* tag of the next one to complete, plus 1; 0: there is none */
	__s32 result;		/* of all of them */
	__u32 run;		/* what that is if all is well; of one alone, 0 */
	__u32 reserved;
};

/* What one visit has done so far; in the device's scratch memory. */
struct tally {
	__u64 start_ns;		/* of what is not yet in the queue's counters */
	__u64 began_ns;
	__u64 deadline_ns;	/* no further request is begun after that */
	__u64 copied;		/* bytes, whatever came of the request */
	__u64 moved;		/* bytes of completed requests */
	__u64 requests;
	__u64 counted_bytes;	/* of those, already in the queue's counters */
	__u64 counted_requests;
	__u32 steps;		/* since the clock was read */
	__u32 late;		/* the deadline has passed */
	__u32 reason;		/* 0, or why the queue's next request is declined */
	__u32 unpublished;	/* used entries that the driver cannot see yet */
	__u32 served;		/* since the ring was last shown some */
	__u32 stalled;		/* requests wait for those in flight */
	__u32 interrupt;	/* the driver wants one */
	__u32 asleep;		/* the ring has requests, and its thread must be woken */
	__u32 kick_collector;	/* whoever collects shall visit the queue */
	__u32 failed;		/* 0, or why a request that came back is userspace's now */
	__u32 assisting;	/* the kernel half has declined this doorbell */
	__u32 rung;		/* it is a doorbell's visit, and counted as one */
	__u64 polled;		/* requests found by looks, which are not yet in the queue's counters */
	__u64 looked_requests;	/* of `requests`, those that were known when it was last decided on polling */
	struct come_back back;
};

/* A walk along a chain whose buffers all go one way (walk.h). */
struct walk {
	struct chain chain;
	__u64 total;		/* bytes of the chain */
	__u64 first;		/* its first buffer: guest-physical, */
	__u32 first_bytes;	/* and how long */
	__u32 parts;
	__u32 tag;		/* whose iovecs have the buffers, if there is an io_uring */
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

/* The verifier walks each function and each loop's step once.  The first step of a loop is
 * called directly where one is what there usually is: a loop calls its step through a pointer,
 * which costs a retpoline each time. */

/* A device's own: the next request, from its first descriptor to its completion.  0, or the reason for which it is
 * left to userspace, as it was found: before used_push() and avail_take() nothing of it is kept. */
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

/* The device's state, and the working memory of each queue, which begins with a struct work;
 * state_of() and work_of() are what a device reads them by.  Either DEVICE_URINGS(QUEUES) or
 * DEVICE_AT_ONCE goes with it.  QUEUES, how many there are, is defined before this is included:
 *
 *	#define QUEUES SHOUTER_QUEUES
 */
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

/* A device that does everything at once, without an io_uring. */
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

/* A request is complete, `bytes` of it. */
static __always_inline void used_count(struct serving *serving, __u64 bytes)
{
	serving->work->tally.moved += bytes;
	serving->work->tally.requests++;
	serving->work->tally.unpublished = 1;
}

/* Take a tag, of a request of this queue's. */
static __always_inline void serving_take_tag(struct serving *serving, struct tag *tag, __u32 index)
{
	uring_take_tag(serving->uring, tag);
	record(serving->device, EVENT_KIND_SUBMIT, serving->index, 0, index | (__u64)tag->serial << 32, 0);
}

/* The same, and its entry. */
static __always_inline void serving_commit(struct serving *serving, struct tag *tag, __u32 index, struct sqe *sqe)
{
	serving_take_tag(serving, tag, index);
	uring_take_entry(serving->uring, tag, index, sqe);
}

/* Work is charged when it is done, not when it succeeds: a descriptor read, a completion taken. */
static __always_inline void charge_step(struct serving *serving)
{
	serving->work->tally.steps++;
}

/* So many bytes were copied, or looked at, for a request. */
static __always_inline void charge_bytes(struct serving *serving, __u32 bytes)
{
	serving->work->tally.copied += bytes;
	serving->work->tally.steps += bytes / STEP_BYTES;
}

/* May so many bytes be copied still, in this visit? */
static __always_inline int may_copy(struct serving *serving, __u64 bytes)
{
	__u64 copied = serving->work->tally.copied;

	return copied <= BUDGET_BYTES && bytes <= BUDGET_BYTES - copied;
}

/* Is it time to end the visit?  The clock is looked at now and then, as that costs something, too. */
static __always_inline int over_budget(struct serving *serving)
{
	struct tally *tally = &serving->work->tally;

	if (tally->steps < STEPS_PER_CLOCK)
		return tally->late;
	tally->steps = 0;
	tally->late = now_ns() >= tally->deadline_ns;
	return tally->late;
}

/* Have the ring call us again, which it does when it comes to an entry that does nothing.  Not so if that
 * may have been already: whoever was called found the queue's lock taken, by us. */
static __always_inline int come_back(struct serving *serving)
{
	struct uring *uring = serving->uring;

	if (!uring || !uring->wiring.ready || (uring->flight.nop && uring_completions(uring)))
		return 0;
	return uring_nop(uring);
}

/* No tag or no entry is free.  Whoever collects what is in flight serves on; but the ring posts
 * completions before it shows that it has taken the entries, so that there may be nothing in flight. */
static __always_inline __u32 wait_for_ring(struct serving *serving)
{
	struct uring *uring = serving->uring;

	if (uring && uring_in_flight(uring) > uring->flight.failed)
		return SERVE_LATER;
	return come_back(serving) ? SERVE_LATER : DECLINE_BUSY;
}

/* io_uring goes on with a read on the thread that submitted it: two would get packets out of order.
 * So without a polling thread, only the one that collects submits reads. */
static __always_inline int may_read(struct serving *serving)
{
	struct uring *uring = serving->uring;

	if (uring->wiring.polled || serving->collecting)
		return 1;
	uring->flight.kicks_seen = uring->wiring.kicks - 1;	/* so that it counts as kicked */
	serving->work->tally.kick_collector = 1;
	return 0;
}

#endif
