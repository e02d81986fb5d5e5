/* How handlers tell what they do, in both builds: record(), which is nothing where nobody records. */
#ifndef SPLITVMM_RECORDER_H
#define SPLITVMM_RECORDER_H

#include "recording.h"

/* One event; both builds say by whom. */
#ifdef __bpf__
__apart int record_event(__u32 what, __u32 where, __u64 value, __u64 began_ns)
{
	__u32 key = 0;
	struct event_ring *ring;

	if (!recording)		/* the map is a page then: nothing of this may be looked at */
		return 0;
	ring = bpf_map_lookup_elem(&events, &key);
	if (ring)
		event_put(ring, bpf_ktime_get_ns(), (__u32)bpf_get_current_pid_tgid(), HALF_KERNEL, what, where,
			  value, began_ns);
	return 0;
}
#define put_event(recorder, what, where, value, began_ns)	record_event(what, where, value, began_ns)
#else
static __noinline __attribute__((unused)) void put_event(struct event_ring *ring, __u32 what, __u32 where, __u64 value,
							 __u64 began_ns)
{
	static __thread __u32 thread;	/* asking takes a system call */

	if (!thread)
		thread = gettid();
	event_put(ring, now_ns(), thread, HALF_NATIVE, what, where, value, began_ns);
}
#endif

/* What a device does about one of its queues, or as a whole (NO_QUEUE). */
static __always_inline void record(struct device *device, enum event_kind kind, __u32 queue, __u32 reason, __u64 value,
				   __u64 began_ns)
{
	if (recorder(device))
		put_event(recorder(device), EVENT_WHAT(kind, reason, 0), EVENT_WHERE(slot_of(device), queue, 0),
			  value, began_ns);
}

/* When something begins that is recorded once it is done. */
static __always_inline __u64 record_from(struct device *device)
{
	return recorder(device) ? now_ns() : 0;
}

/* What becomes of a guest's write. */
#define record_access(recorder, kind, access, reason)						\
	do {											\
		if (recorder)									\
			put_event(recorder, EVENT_WHAT(kind, reason, (access)->width),		\
				  EVENT_WHERE((access)->device, NO_QUEUE, (access)->offset),	\
				  (access)->value, 0);						\
	} while (0)

#endif
