/* Entering and leaving a device or queue; vmm/sync/PROTOCOL.md is the whole of it. */
#ifndef SPLITVMM_OWNERSHIP_H
#define SPLITVMM_OWNERSHIP_H

#include "platform.h"

/* For handlers that run without the lock (lock=False): keep userspace out until leave().
 *
 * Announce, then look: `active` first, `holder` after it.  Partner: Ownership.take() sets
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

/* What follows on enter(), once everything is done. */
static __always_inline void leave(struct entry *entry)
{
	barrier();
	fetch_add(&entry->active, -1);
}

static __always_inline void count_decline(struct entry *entry, __u32 reason)
{
	barrier_var(reason);	/* or the compiler uses a copy that is not the one compared, and the verifier refuses it */
	if (reason < sizeof(entry->declined) / sizeof(entry->declined[0])) {
		fetch_add(&entry->declined[reason], 1);
		WRITE_ONCE(entry->last_reason, reason);
	}
}

/* Tries at a device's lock.  Whoever has it is in a handler too, and soon done. */
enum { LOCK_TRIES = 128 };

static __always_inline int try_lock(struct entry *entry)
{
	return compare_exchange(&entry->rings, 0, 1) == 0;
}

struct locking {
	struct entry *entry;
	int locked;
};

static long lock_again(__u32 i, void *context)
{
	struct locking *locking = context;

	lock_wait();
	if (READ_ONCE(locking->entry->rings) == 0)
		locking->locked = try_lock(locking->entry);
	return locking->locked;
}

/* Bounded: where the lock stays taken, userspace does the write, which waits as long as it must. */
static __always_inline int lock_entry(struct entry *entry)
{
	struct locking locking = { .entry = entry, .locked = try_lock(entry) };

	if (!locking.locked)
		loop(LOCK_TRIES, lock_again, &locking);
	return locking.locked;
}

/* Keep userspace and handlers on other vCPUs out of the device; 0 with a reason, which is counted. */
static __always_inline int lock_device(struct device_control *control, __u32 *reason)
{
	__u32 generation;

	*reason = DECLINE_HELD_BY_USER;
	if (enter(&control->ownership, &control->entry, &generation)) {
		*reason = DECLINE_BUSY;
		if (lock_entry(&control->entry)) {
			*reason = 0;
			return 1;
		}
		leave(&control->entry);
	}
	count_decline(&control->entry, *reason);
	return 0;
}

static __always_inline void unlock_device(struct device_control *control)
{
	exchange(&control->entry.rings, 0);
	leave(&control->entry);
}

/* A handler as its schema wants it run.  HANDLER_LOCKED and HANDLER_RAISES come from the device's header; what
 * handlers of queues do is recorded where a queue is visited. */
#define RUN_HANDLER(notify)								\
	static __always_inline enum verdict run_locked(struct device *device,		\
						       const struct access *access, __u32 *reason) \
	{										\
		struct device_control *control;						\
		enum verdict verdict;							\
											\
		if (!HANDLER_LOCKED)							\
			return notify(device, access, reason);				\
		control = device_control(device);					\
		if (!control || !lock_device(control, reason))				\
			return VERDICT_TO_USER;						\
		verdict = notify(device, access, reason);				\
		if (verdict == VERDICT_TO_USER)						\
			count_decline(&control->entry, *reason);			\
		unlock_device(control);							\
		return verdict;								\
	}										\
	static __always_inline enum verdict run_handler(struct device *device,		\
							const struct access *access, __u32 *reason) \
	{										\
		__u64 began = HANDLER_RAISES ? record_from(device) : 0;			\
		enum verdict verdict = run_locked(device, access, reason);		\
											\
		if (HANDLER_RAISES)							\
			record(device, EVENT_KIND_VISIT, NO_QUEUE,			\
			       verdict == VERDICT_TO_USER ? *reason : 0, verdict != VERDICT_TO_USER, began); \
		return verdict;								\
	}

#endif
