/* The accesses of points.h: where an actor's own store buffer stands between it and what all see. */
#ifndef SPLITVMM_ACCESSES_H
#define SPLITVMM_ACCESSES_H

#include "schedule.h"

static int is_shared(__u64 at)
{
	__u32 i;

	for (i = 0; i < span_count; i++)
		if (at - spans[i].at < spans[i].bytes)
			return 1;
	return 0;
}

static int in_guest_memory(__u64 at)
{
	return at - scenario.ram < scenario.ram_bytes;
}

static void userspace_did(__u64 at, __u64 value)
{
	if (world.current == USERSPACE)
		world.userspace_read = mixed(world.userspace_read, (__u64[]){ at, value }, 16);
}

__u64 explored_load(const volatile void *place, __u32 size)
{
	struct actor *actor = &world.actor[world.current];
	__u64 value = 0, at = (__u64)place;
	int i;

	if (exploring && is_shared(at))
		point();
	memcpy(&value, (const void *)(__u64)place, size);
	for (i = actor->stores - 1; exploring && i >= 0; i--)
		if (actor->store[i].at == at && actor->store[i].size == size) {
			value = actor->store[i].value;
			break;
		}
	if (exploring && is_shared(at)) {
		note(READ, at, size, value, 0);
		userspace_did(at, value);
	}
	return value;
}

void explored_store(volatile void *place, __u32 size, __u64 value)
{
	struct actor *actor = &world.actor[world.current];
	struct store store = { (__u64)place, value, size, actor->epoch };
	int late;

	if (size < 8)
		store.value &= (1ull << 8 * size) - 1;
	if (!exploring || (!is_shared(store.at) && !in_guest_memory(store.at))) {
		memcpy((void *)(__u64)place, &value, size);	/* under the queue's lock, which empties the buffer */
		return;
	}
	if (is_shared(store.at))
		point();
	if (over)
		return;
	userspace_did(store.at, store.value);
	if (!actor->stores && world.delays < scenario.delays) {
		actor->storing = DELAY;
		point();
		world.delays += actor->storing == DELAY;
	}
	late = actor->stores || actor->storing == DELAY;
	actor->storing = 0;
	if (over)
		return;
	if (actor->stores == STORES)
		drain(actor);
	if (late)
		actor->store[actor->stores++] = store;
	else
		into_memory(world.current, &store);
	if (is_shared(store.at))
		note(WRITTEN, store.at, size, store.value, late);
}

__u64 explored_update(volatile void *place, __u32 size, enum update how, __u64 n, __u64 from)
{
	struct actor *actor = &world.actor[world.current];
	__u64 before = 0, after;

	if (exploring && is_shared((__u64)place))
		point();
	if (exploring && over)
		return 0;
	if (exploring)
		drain(actor);
	memcpy(&before, (const void *)(__u64)place, size);
	after = how == ADD ? before + n : how == OR ? before | n : how == AND ? before & n :
		how == SET || before == from ? n : before;
	memcpy((void *)(__u64)place, &after, size);
	if (!exploring)
		return before;
	userspace_did((__u64)place, before);
	if (memcmp(&before, &after, size))
		changed_by(world.current);
	if (is_shared((__u64)place))
		note(UPDATED, (__u64)place, size, size < 8 ? after & ((1ull << 8 * size) - 1) : after, 0);
	return before;
}

void explored_order(void)
{
	struct actor *actor = &world.actor[world.current];

	if (exploring && actor->stores)
		actor->epoch++;
}

/* Until something has changed since it was here last. */
void explored_yield(void)
{
	wait_for(CHANGE);
	world.actor[world.current].changed = 0;
}

#endif
