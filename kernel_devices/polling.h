/* A queue that is looked at instead of rung: while its driver is busy, the ring's thread comes by again and again, by
 * an entry that does nothing, and no doorbell is asked for (vmm/sync/PROTOCOL.md, "Polling"). */
#ifndef SPLITVMM_POLLING_H
#define SPLITVMM_POLLING_H

#include "serving.h"

enum {
	BUSY_BELLS = 4,			/* doorbells, one soon after the other, from which on a driver is busy; */
	BUSY_BELLS_ASLEEP = 32,		/* if the ring's thread would have to be woken */
	LATE_LOOK_NS = 300000,		/* between two looks: that thread has to share its CPU */
	FEWEST_FOUND = 4,		/* requests for which looking was worth while */
	LEAST_REST_NS = 1000000,	/* when it was not; doubled each time */
	MOST_REST_NS = 256000000,
};

/* Will a look find what this doorbell was rung for, by a driver that rings though nobody asked?  Then that is the other
 * CPU's work.  The caller has a full barrier between the doorbell and this; partner: serve_round(), between the end of
 * polling and its last look. */
static __always_inline int will_be_looked_at(const struct serving *serving)
{
	struct uring *uring = serving->uring;

	return uring && READ_ONCE(uring->looks.polling) && READ_ONCE(serving->queue->ownership.holder) == SIDE_KERNEL;
}

/* Doorbells are to be asked for from here on; not looked again before a rest, unless this was `worth` while. */
static __always_inline void end_polling(struct serving *serving, int worth)
{
	struct flight *flight = &serving->uring->flight;
	__u64 rest = worth ? 0 : 2 * flight->rest_ns;

	if (!worth && rest < LEAST_REST_NS)
		rest = LEAST_REST_NS;
	if (rest > MOST_REST_NS)
		rest = MOST_REST_NS;
	WRITE_ONCE(serving->uring->looks.polling, 0);
	flight->bells = 0;
	flight->rest_ns = rest;
	flight->rested_ns = now_ns() + rest;
}

/* A doorbell was rung: is the driver so busy that looks are begun? */
static __always_inline int begins_polling(struct serving *serving, __u64 now)
{
	struct uring *uring = serving->uring;
	struct flight *flight = &uring->flight;
	__u32 enough = READ_ONCE(*uring_word(uring, uring->wiring.sq_flags)) & SQ_NEED_WAKEUP ? BUSY_BELLS_ASLEEP : BUSY_BELLS;

	if (serving->collecting || serving->work->tally.rung)
		return 0;
	serving->work->tally.rung = 1;
	flight->bells = now - flight->bell_ns < uring->wiring.poll_ns ? flight->bells + 1 : 0;
	flight->bell_ns = now;
	if (flight->bells < enough || (now < flight->rested_ns && !uring->wiring.poll_always))
		return 0;
	WRITE_ONCE(uring->looks.polling, 1);
	flight->found = flight->raised = 0;
	flight->bell_cpu = this_cpu();
	disable_notify(serving->device, serving->queue);
	return 1;
}

/* Is there reason to look once more?  `found` requests were there now. */
static __always_inline int goes_on_polling(struct serving *serving, __u64 now, __u64 found)
{
	const struct wiring *wiring = &serving->uring->wiring;
	struct flight *flight = &serving->uring->flight;

	flight->found += found;
	if (serving->collecting)
		serving->work->tally.polled += found;
	if (serving->collecting && !wiring->poll_always &&
	    (now - flight->look_ns > LATE_LOOK_NS || this_cpu() == flight->bell_cpu)) {
		end_polling(serving, 0);
		return 0;
	}
	if (found || now < flight->until_ns)
		return 1;
	end_polling(serving, flight->found >= FEWEST_FOUND && 2 * flight->raised <= flight->found);
	return 0;
}

/* All that waited is served: will the ring's thread look at the queue again, so that no doorbell is needed? */
static __always_inline int keeps_polling(struct serving *serving)
{
	struct uring *uring = serving->uring;
	struct tally *tally = &serving->work->tally;
	__u64 now, found = tally->requests - tally->looked_requests;

	if (!uring || !uring->wiring.poll_ns || !uring->wiring.ready)
		return 0;
	now = now_ns();
	tally->looked_requests = tally->requests;
	if (!(uring->looks.polling ? goes_on_polling(serving, now, found) : begins_polling(serving, now)))
		return 0;
	if (found)
		uring->flight.until_ns = now + uring->wiring.poll_ns;
	uring->flight.look_ns = now;
	if (!uring_nop(uring)) {
		end_polling(serving, 1);
		return 0;
	}
	if (uring_submit(uring))
		tally->asleep = 1;
	return 1;
}

#endif
