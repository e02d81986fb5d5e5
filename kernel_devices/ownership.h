/* Entering and leaving a device or queue; vmm/sync/PROTOCOL.md is the whole of it. */
#ifndef SPLITVMM_OWNERSHIP_H
#define SPLITVMM_OWNERSHIP_H

#include "platform.h"

/* Announce, then look: `active` first, `holder` after it.  Partner: Ownership.take() sets
 * `holder` and then waits for `active`.  False: userspace holds it, and we are not inside. */
static __always_inline int enter(const struct ownership *ownership, struct entry *entry,
			       __u32 *generation)
{
	/* the result is used, or BPF would not order the load of `holder` after it */
	__u32 inside = fetch_add(&entry->active, 1);

	WINDOW();
	if (READ_ONCE(ownership->holder) == SIDE_KERNEL && inside != ~0u) {
		*generation = READ_ONCE(ownership->generation);
		return 1;
	}
	fetch_add(&entry->active, -1);
	return 0;
}

static __always_inline void leave(struct entry *entry)
{
	barrier();
	fetch_add(&entry->active, -1);
}

static __always_inline void count_decline(struct entry *entry, __u32 reason)
{
	if (reason < sizeof(entry->declined) / sizeof(entry->declined[0])) {
		fetch_add(&entry->declined[reason], 1);
		WRITE_ONCE(entry->last_reason, reason);
	}
}

#endif
