/* The ring that events are recorded by: any number of writers, in BPF, native handlers and Python, and one reader
 * (vmm/sync/event_ring.py).  No writer ever waits: where there is no place, the event is dropped, and counted. */
#ifndef SPLITVMM_RECORDING_H
#define SPLITVMM_RECORDING_H

#include "atomic.h"
#include "recording.gen.h"

enum { CLAIM_TRIES = 16 };	/* by a writer that others are always faster than */

/* What an event is about, in two words, as functions that the verifier walks apart take few. */
#define EVENT_WHAT(kind, reason, width)	((__u32)(kind) | ((__u32)(reason) & 0xff) << 8 | (__u32)(width) << 16)
#define EVENT_WHERE(device, queue, offset) \
	(((__u32)(device) & 0xff) | ((__u32)(queue) & 0xff) << 8 | (__u32)(offset) << 16)

/* A place of one's own, or a null pointer. */
static inline struct event *event_claim(struct event_ring *ring)
{
	__u32 at, i;

	for (i = 0; i < CLAIM_TRIES; i++) {
		at = READ_ONCE(ring->writers.claimed);
		if (at - READ_ONCE(ring->reader.taken) >= EVENT_PLACES)
			break;
		if (compare_exchange(&ring->writers.claimed, at, at + 1) == at)
			return &ring->event[at & (EVENT_PLACES - 1)];
	}
	fetch_add(&ring->writers.dropped, 1);
	return 0;
}

/* Put an event in.  `began_ns` is when what it tells of began, or 0. */
static inline void event_put(struct event_ring *ring, __u64 now_ns, __u32 thread, __u32 half, __u32 what, __u32 where,
			     __u64 value, __u64 began_ns)
{
	struct event *event = event_claim(ring);
	__u64 took = began_ns ? now_ns - began_ns : 0;

	if (!event)
		return;
	event->time = now_ns;
	event->value = value;
	event->thread = thread;
	event->took = took > ~0u ? ~0u : took;
	event->offset = where >> 16;
	event->device = where;
	event->queue = where >> 8;
	event->width = what >> 16;
	event->reason = what >> 8;
	event->half = half;
	barrier();	/* x86: stores are seen in order; partner: events_take() */
	WRITE_ONCE(event->kind, (__u8)what);
}

#endif
