/* virtio-rng on the exit path (VIRTIO 1.2, section 5.4): bytes out of a pool that userspace fills
 * whenever it is asked to, by a decline.  A request may be answered in part. */
#include "rng.gen.h"
#define QUEUES RNG_QUEUES
#include "../doorbell.h"
#include "../walk.h"

DEVICE_SERVES(struct rng_state, struct work)
DEVICE_AT_ONCE

static __noinline __u32 serve_next(struct serving *serving)
{
	struct rng_state *state = state_of(serving);
	struct walk *walk = &serving->work->walk;
	__u32 taken = state->pool.taken, length, reason;
	void *to;

	reason = walk_chain(serving, 1, 0, RNG_DECLINE_FRAMING);
	if (reason)
		return reason;
	length = walk->first_bytes < RNG_MOST_BYTES ? walk->first_bytes : RNG_MOST_BYTES;
	if (taken > RNG_POOL_BYTES - RNG_MOST_BYTES)
		return RNG_DECLINE_EMPTY;
	to = ram_at(serving->device, walk->first, length, &reason);
	if (!to)
		return reason;
	copy(to, &state->pool.bytes[taken], length);
	reason = used_push(serving->device, serving->queue, walk->chain.head, walk->chain.slots, length);
	if (reason)
		return reason;
	state->pool.taken = taken + length;
	avail_take(serving->queue, &walk->chain);
	used_count(serving, length);
	return 0;
}

DEVICE_HANDLER(doorbell, RNG_LAYOUT_HASH)
