/* A visit to a virtqueue, from entering to leaving: because its doorbell was rung, or because
 * requests in flight have come back.  vmm/sync/PROTOCOL.md has the rules. */
#ifndef SPLITVMM_VISIT_H
#define SPLITVMM_VISIT_H

#include "polling.h"

#ifndef ROUNDS			/* tools/explore has its own */
#define ROUNDS	8		/* looks at a queue that is filled while it is served */
#endif
enum { SHOWN_AT_ONCE = 4 };	/* requests committed to the ring before it is told */

/* A queue that is visited: also what outlives its lock. */
struct visit {
	struct serving serving;
	__u32 assisting;	/* the kernel half has declined this doorbell, and counted that */
	__u32 generation;	/* of the queue when we entered */
	__u32 drained;		/* the queue was found empty, and its lock let go */
	__u32 interrupt;	/* of the tally's, once that is no more ours */
	__u32 asleep, kick_collector;
	__u32 requests;		/* done, where that is recorded */
};

/* There is no time for more: what is left is done in a visit of its own, or by userspace. */
static __always_inline void postpone(struct serving *serving)
{
	if (come_back(serving))
		serving->work->tally.stalled = 1;
	else
		serving->work->tally.reason = DECLINE_BUDGET;
}

static long serve_one(__u32 i, void *context)
{
	struct serving *serving = context;
	__u32 reason;

	if (!avail_more(serving->device, serving->queue))
		return 1;
	if (over_budget(serving)) {
		postpone(serving);
		return 1;
	}
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

/* Complete one of those that came back as one. */
static __always_inline void complete_next(struct serving *serving)
{
	struct come_back *back = &serving->work->tally.back;
	struct uring *uring = serving->uring;
	__u32 index = back->next - 1, reason = 0;
	struct tag *tag;
	__s32 result;

	barrier_var(index);
	back->next = 0;
	if (!uring || index >= URING_TAGS)
		return;
	charge_step(serving);
	tag = &uring->flight.tag[index];
	/* one alone may know better what its result means; of a run that is not whole each is done again */
	result = !back->run ? back->result : (__u32)back->result == back->run ? (__s32)tag->wanted : -1;
	uring->flight.completed++;
	if (tag->kind) {
		reason = complete_one_apart(serving->index, serving->collecting, index, result);
		record(serving->device, EVENT_KIND_COMPLETE, serving->index, reason, index | (__u64)tag->serial << 32, 0);
	}
	back->next = tag->next;
	if (!reason) {
		uring_release(uring, tag, index);
	} else {
		tag->state = TAG_STATE_FAILED;
		uring->flight.failed++;
		serving->work->tally.failed = reason;
	}
}

static long collect_one(__u32 i, void *context)
{
	struct serving *serving = context;
	struct come_back *back = &serving->work->tally.back;
	struct uring *uring = serving->uring;
	struct tag *tag;
	__u32 index;
	__s32 result;

	if (!uring)
		return 1;
	if (!back->next) {
		if (!uring_completions(uring))
			return 1;
		if (over_budget(serving)) {
			postpone(serving);
			return 1;
		}
		tag = uring_take(uring, &index, &result);
		if (!tag) {
			charge_step(serving);
			return 0;
		}
		*back = (struct come_back){ .next = index + 1, .result = result, .run = tag->run };
	}
	complete_next(serving);
	return 0;
}

/* Take what came back, serve what waits, and show the driver what is done. */
static __always_inline __u32 serve_waiting(struct serving *serving)
{
	struct tally *tally = &serving->work->tally;
	__u32 reason;
	__s32 waiting;

	tally->stalled = 0;
	tally->reason = 0;
	if (serving->uring)
		serving->uring->flight.kicks_seen = READ_ONCE(serving->uring->wiring.kicks);
	if (serving->uring && !collect_one(0, serving))
		loop(URING_COMPLETIONS + URING_TAGS, collect_one, serving);	/* a run is never left half done */
	waiting = avail_waiting(serving->device, serving->queue, &reason);
	if (waiting < 0)	/* what came back is shown all the same */
		tally->reason = reason;
	if (waiting > 0 && !tally->stalled && !tally->reason && !serve_one(0, serving))
		loop(waiting - 1, serve_one, serving);
	after_serving(serving);
	if (serving->uring && serving->uring->wiring.ready && uring_submit(serving->uring))
		tally->asleep = 1;
	if (tally->failed)	/* whatever else: userspace has a request to do */
		tally->reason = tally->failed;
	if (!tally->unpublished)
		return tally->reason;
	tally->unpublished = 0;
	WINDOW();
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
	WRITE_ONCE(entry->handled, entry->handled + tally->requests - tally->counted_requests);
	if (tally->assisting)
		WRITE_ONCE(entry->assisted, entry->assisted + tally->requests - tally->counted_requests);
	WINDOW();
	WRITE_ONCE(entry->bytes, entry->bytes + tally->moved - tally->counted_bytes);
	WRITE_ONCE(entry->busy_ns, entry->busy_ns + now - tally->start_ns);
	if (now - tally->began_ns > entry->longest_ns && !tally->assisting)	/* those that wait are no measure */
		WRITE_ONCE(entry->longest_ns, now - tally->began_ns);
	if (tally->polled)
		WRITE_ONCE(entry->polled, entry->polled + tally->polled);
	barrier();
	WRITE_ONCE(entry->sequence, entry->sequence + 1);
	tally->polled = 0;
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
	if (recorder(visit->serving.device))
		visit->requests = READ_ONCE(tally->requests);
}

/* Does nobody but the ring raise this visit's interrupt? */
static __always_inline int raises_by_ring(struct serving *serving)
{
	const struct uring *uring = serving->uring;

	return uring && (uring->wiring.raises == RAISES_ALL ||
			 (uring->wiring.raises == RAISES_COLLECTED && serving->collecting));
}

/* The driver wants an interrupt: said to whoever runs us, or through the ring.  False if that has no
 * space for it. */
static __always_inline int interrupt_wanted(struct serving *serving)
{
	struct uring *uring = serving->uring;

	serving->work->tally.interrupt = 1;
	if (!raises_by_ring(serving))
		return 1;
	uring->flight.raised++;
	if (!uring_raise(uring))
		return 0;
	if (uring_submit(uring))
		serving->work->tally.asleep = 1;
	return 1;
}

/* Whoever collects what is in flight will visit the queue, soon enough to do without a doorbell until
 * then: a driver that is faster than the ring rings once for many. */
static __always_inline int visited_soon(struct serving *serving)
{
	struct uring *uring = serving->uring;

	return uring && uring->wiring.lazy_notify && uring_in_flight(uring) > uring->flight.failed;
}

/* One round of a visit; 1 ends them.  Nothing behind the lock is touched once it is let go. */
static __noinline long serve_round(__u32 i, void *context)
{
	struct visit *visit = context;
	struct serving *serving = &visit->serving;
	struct virtqueue *queue = serving->queue;
	__u32 seen = READ_ONCE(queue->entry.rings), reason;
	__u16 unsignalled;

	serving->work->tally.reason = serve_waiting(serving);
	if (serving->work->tally.reason)
		return 1;
	if (!keeps_polling(serving) && !visited_soon(serving))
		enable_notify(serving->device, queue);
	/* Full barrier between asking for a doorbell and looking again; partner: the driver makes
	 * a request available and then reads what we asked for (2.7.13.4.1, 2.8.21.3.1).  It also
	 * stands between publishing and reading the driver's wish (2.7.7.2). */
	if (fetch_add(&queue->entry.rings, 0) == 0)
		return 1;
	if (!serving->work->tally.stalled && avail_waiting(serving->device, queue, &reason))
		return 0;	/* more of them, or a reason that the next round finds again */
	WINDOW();
	/* Taken while we are inside: decline, and leave the interrupt to userspace, which decides by
	 * `unsignalled` as we leave it.  A take that comes later waits until we have interrupted. */
	if (READ_ONCE(queue->ownership.generation) != visit->generation) {
		serving->work->tally.reason = DECLINE_HELD_BY_USER;
		return 1;
	}
	if (serving->work->tally.requests != serving->work->tally.counted_requests)
		interrupt_cause(serving->device, serving->queue);
	unsignalled = queue->position.unsignalled;
	if (used_wants_interrupt(serving->device, queue) && !interrupt_wanted(serving)) {
		queue->position.unsignalled = unsignalled;	/* userspace decides, and raises it */
		serving->work->tally.reason = DECLINE_BUSY;
		return 1;
	}
	count_served(serving);
	keep_outcome(visit);
	WINDOW();
	/* Let go, unless a doorbell was rung meanwhile: whoever rang it left it to us. */
	visit->drained = fetch_add(&queue->entry.rings, -seen) == seen;
	return visit->drained;
}

static __always_inline void tally_start(struct visit *visit)
{
	struct tally *tally = &visit->serving.work->tally;

	__builtin_memset(tally, 0, sizeof(*tally));
	tally->start_ns = tally->began_ns = now_ns();
	tally->deadline_ns = tally->began_ns + BUDGET_NS;
	tally->assisting = visit->assisting;
	keep_outcome(visit);	/* unknown to the verifier from here on, so that it walks no more often */
}

/* Whatever becomes of the lock: say what this visit has done. */
static __always_inline void end_visit(struct visit *visit)
{
	struct serving *serving = &visit->serving;
	struct tally *tally = &serving->work->tally;

	if (tally->requests != tally->counted_requests)
		interrupt_cause(serving->device, serving->queue);
	count_served(serving);
	keep_outcome(visit);
}

/* The queue was filled again in each round: is the rest another visit's, the ring's thread's?  Then the lock is let go.
 * Not if anyone has come since that was called for: it may have been that thread, which found the lock taken. */
static __always_inline int leave_to_ring(struct visit *visit)
{
	struct serving *serving = &visit->serving;
	__u32 *rings = &serving->queue->entry.rings, seen = READ_ONCE(*rings);

	if (!come_back(serving))
		return 0;
	if (uring_submit(serving->uring))
		serving->work->tally.asleep = 1;
	end_visit(visit);
	WINDOW();
	return compare_exchange(rings, seen, 0) == seen;
}

/* With the queue's lock: serve, and let go of it. */
static __always_inline __u32 serve_locked(struct visit *visit)
{
	struct serving *serving = &visit->serving;
	struct tally *tally = &serving->work->tally;
	__u32 reason = DECLINE_NOT_READY;

	tally_start(visit);
	if (READ_ONCE(serving->queue->setup.ready)) {
		if (!serve_round(0, visit))
			loop(ROUNDS - 1, serve_round, visit);
		if (visit->drained || (!tally->reason && leave_to_ring(visit)))
			return 0;
		reason = tally->reason ? tally->reason : DECLINE_BUSY;
	}
	/* decided on in an earlier round, and nobody raises it for a visit that ends in a decline */
	if (tally->interrupt && !raises_by_ring(serving))
		serving->queue->position.unsignalled = MANY_USED;
	if (serving->uring && serving->uring->looks.polling)	/* whoever serves the rest asks for doorbells */
		end_polling(serving, 0);
	end_visit(visit);
	exchange(&serving->queue->entry.rings, 0);
	return reason;
}

/* Visit a queue: HANDLED if it is empty, or another handler will see to it.  An interrupt that was decided on is the
 * caller's to raise, also where userspace has a ring to wake: that finds nothing more to interrupt for. */
static __always_inline enum verdict visit_queue(struct visit *visit, __u32 *reason)
{
	struct serving *serving = &visit->serving;
	struct virtqueue *queue = serving->queue;
	__u64 began = record_from(serving->device);

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
	record(serving->device, serving->collecting ? EVENT_KIND_COLLECT : EVENT_KIND_VISIT, serving->index, *reason,
	       visit->requests, began);
	if (!*reason)
		return visit->interrupt ? VERDICT_HANDLED_INTERRUPT : VERDICT_HANDLED;
	if (!visit->assisting)
		count_decline(&queue->entry, *reason);
	return *reason == DECLINE_RING_ASLEEP && visit->interrupt ? VERDICT_TO_USER_INTERRUPT : VERDICT_TO_USER;
}

/* The same.  In the BPF build the verifier walks it apart, once for doorbells and collections: it is most of a device's
 * program.  What it says comes back in one word. */
#ifdef __bpf__
__apart __u64 visit_packed(__u32 index, __u32 collecting)
{
	struct device device = {};
	struct visit visit = { .serving.device = &device, .serving.collecting = collecting };
	__u32 reason = DECLINE_NOT_READY;
	enum verdict verdict = VERDICT_TO_USER;

	if (serving_start(&visit.serving, index))
		verdict = visit_queue(&visit, &reason);
	return verdict | (__u64)(visit.interrupt != 0) << 8 | (__u64)reason << 32;
}

static __always_inline enum verdict visit_apart(struct visit *visit, __u32 *reason)
{
	__u64 packed = visit_packed(visit->serving.index, visit->serving.collecting);

	visit->interrupt = packed >> 8 & 1;
	*reason = packed >> 32;
	return packed & 0xff;
}
#else
#define visit_apart	visit_queue
#endif

#endif
