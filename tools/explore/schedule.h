/* Which actor takes the next step: depth first through all schedules with at most so many preemptions and delayed
 * stores.  A schedule is played from the start each time; where it comes to a state that was reached as cheaply
 * before, it ends there. */
#ifndef SPLITVMM_SCHEDULE_H
#define SPLITVMM_SCHEDULE_H

#include "world.h"

enum { DEPTH = 8192, LONGEST = 1 << 17 /* steps */, STATES = 1 << 23, REGIONS = 32, SPANS = 64, EVENTS = 8192 };

enum kind { RUN, LEAVE, LEAVE_LAST, THROUGH, DELAY, MAIL_ITEM, SCRIPT_ITEM };

struct option { __u8 kind, of, cost; };
struct choice { __u8 count, taken; struct option option[3 * ACTORS]; };

/* Memory that is put back before each schedule, and of which `hashed` bytes from the start are part of the state. */
struct region { __u8 *at, *kept; __u64 bytes, hashed; };

struct span { __u64 at, bytes; };	/* words that several actors touch */

struct seen { __u64 at, value; __u8 actor, what, size, delayed; };
enum what { READ, WRITTEN, UPDATED, LEFT, RAN };

static struct world world;
static struct scenario scenario;
static struct region regions[REGIONS];
static struct span spans[SPANS];
static struct seen events[EVENTS];
static struct choice choices[DEPTH];
static __u64 *states;		/* hashes, in an open table */
static __u8 *costs;		/* preemptions that it took to get there */
static __u8 stacks[ACTORS][STACK_BYTES] __attribute__((aligned(64)));
static __u8 scheduler_stack[STACK_BYTES] __attribute__((aligned(64)));
static void *stack_pointer[ACTORS], *scheduler_pointer;
static __u32 region_count, span_count, event_count, depth, length, prefix, spent, exploring;
static __u64 schedules, states_found, steps;
static enum over over;
static char violation[256];

/* Save the callee's registers on this stack, go on with another one. */
void explored_switch(void **from, void *to);
__asm__(".text\nexplored_switch:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");

static void note(enum what what, __u64 at, __u32 size, __u64 value, int delayed)
{
	if (event_count < EVENTS)
		events[event_count++] = (struct seen){ at, value, world.current, what, size, delayed };
}

static void end(enum over how)
{
	if (!over)
		over = how;
}

static void violated(const char *what)
{
	if (!over)
		snprintf(violation, sizeof(violation), "%s", what);
	end(VIOLATED);
}

/* Let somebody else, or the same actor, take the next step. */
static void point(void)
{
	void **mine = &stack_pointer[world.current];

	if (!over)
		explored_switch(mine, scheduler_pointer);
	if (over && world.current != USERSPACE) {
		world.current = USERSPACE;
		explored_switch(mine, stack_pointer[USERSPACE]);
	}
}

static int may_run(__u32 number)
{
	const struct actor *actor = &world.actor[number];

	switch ((enum wait)actor->wait) {
	case NOTHING: return 1;
	case CHANGE: return actor->changed;
	case DRIVER_LOCK: return !world.locked;
	case SERVED: return world.served[number];
	case ENTRIES: return world.awake;
	case SIGNALLED: return world.signals && !world.paused;
	case INTERRUPTED: return world.irq;
	case MAILED: return world.mails || (world.scripted < scenario.scripts);
	case RESUMED: return !world.paused;
	case STILL: return !world.actor[VCPU0].inside && !world.actor[VCPU1].inside && !world.actor[COLLECTOR].inside;
	case ENDED: return 0;
	}
	return 0;
}

/* Until that may be; what the actor has stored is out by then. */
static void drain(struct actor *actor);

/* What the actor has stored is out; others may go on before. */
static void empty_buffer(void)
{
	struct actor *actor = &world.actor[world.current];

	if (actor->stores)
		point();
	if (!over)
		drain(actor);
}

static void wait_for(enum wait what)
{
	struct actor *actor = &world.actor[world.current];

	empty_buffer();
	actor->wait = what;
	point();
	actor->wait = NOTHING;
}

/* Somebody else's memory has changed. */
static void changed_by(__u32 number)
{
	__u32 i;

	for (i = 0; i < ACTORS; i++)
		if (i != number)
			world.actor[i].changed = 1;
}

static void into_memory(__u32 number, const struct store *store)
{
	memcpy((void *)store->at, &store->value, store->size);
	changed_by(number);
}

/* The store that may leave as `last` of those that no barrier stands behind, or as the first; -1 if there is none. */
static int leaving(const struct actor *actor, int last)
{
	__u32 i, j;

	if (!actor->stores)
		return -1;
	if (!last)
		return 0;
	for (i = 0; i < actor->stores && actor->store[i].epoch == actor->store[0].epoch; i++)
		;
	for (j = 0, --i; j < i && actor->store[j].at != actor->store[i].at; j++)
		;
	return i && j == i ? (int)i : -1;
}

static void leave_memory(__u32 number, int at)
{
	struct actor *actor = &world.actor[number];
	struct store store = actor->store[at];

	into_memory(number, &store);
	if (event_count < EVENTS)
		events[event_count++] = (struct seen){ store.at, store.value, number, LEFT, store.size, 0 };
	memmove(&actor->store[at], &actor->store[at + 1], (--actor->stores - at) * sizeof(store));
	memset(&actor->store[actor->stores], 0, sizeof(store));
	if (!actor->stores)
		actor->epoch = 0;
}

static void drain(struct actor *actor)
{
	while (actor->stores)
		leave_memory(actor - world.actor, 0);
}

static __u64 mixed(__u64 hash, const void *at, __u64 bytes)
{
	const __u64 *word = at, *last = word + bytes / 8;

	for (; word < last; word++) {
		hash = (hash ^ *word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return hash;
}

static __u64 state_hash(void)
{
	__u64 hash = mixed(0x1234567, &world, sizeof(world) & ~7ull);
	__u32 i;

	for (i = 0; i < region_count; i++)
		hash = mixed(hash, regions[i].at, regions[i].hashed);
	for (i = 0; i < USERSPACE; i++)
		if (world.actor[i].wait != ENDED)
			hash = mixed(hash, stack_pointer[i], stacks[i] + STACK_BYTES - (__u8 *)stack_pointer[i]);
	return hash | 1;
}

/* Was this state reached before, and for no more?  `of` is what is being chosen there. */
static int known(__u32 of)
{
	__u64 hash = state_hash() + 2 * of;
	__u64 at = hash & (STATES - 1);

	while (states[at] && states[at] != hash)
		at = (at + 1) & (STATES - 1);
	if (states[at] && costs[at] <= spent)
		return 1;
	if (!states[at] && ++states_found > STATES / 4 * 3)
		violated("more states than there is room for");
	states[at] = hash;
	costs[at] = spent;
	return 0;
}

/* One of `count` options; the first, where nothing has been said. */
static struct option chosen(const struct option *option, __u32 count, __u32 of)
{
	struct choice *choice = &choices[depth];

	steps++;
	length++;
	if (over || (count == 1 && length < LONGEST))
		return option[0];
	if (depth >= DEPTH - 1 || length >= LONGEST) {
		violated("a schedule without end");
		return option[0];
	}
	if (depth >= prefix) {
		if (known(of)) {
			end(PRUNED);
			return option[0];
		}
		choice->count = count;
		choice->taken = 0;
		memcpy(choice->option, option, count * sizeof(*option));
	} else if (choice->count != count) {
		violated("the same schedule led to another state");
	}
	depth++;
	return choice->option[choice->taken];
}

static void add_option(struct option *option, __u32 *count, enum kind kind, __u32 of, __u32 cost)
{
	if (spent + cost <= scenario.preemptions)
		option[(*count)++] = (struct option){ kind, of, cost };
}

/* Who is next: the same actor for nothing, if it may; another one then costs a preemption. */
static struct option next_step(void)
{
	struct option option[3 * ACTORS];
	__u32 count = 0, i, current = world.current;
	/* whoever waits for the next thing to do is not preempted */
	__u32 goes_on = may_run(current) && world.actor[current].wait != MAILED;

	if (may_run(current))
		add_option(option, &count, RUN, current, 0);
	for (i = 0; i < ACTORS; i++)
		if (i != current && may_run(i))
			add_option(option, &count, RUN, i, goes_on);
	for (i = 0; i < ACTORS; i++) {
		if (leaving(&world.actor[i], 0) >= 0)
			add_option(option, &count, LEAVE, i, goes_on);
		if (leaving(&world.actor[i], 1) >= 0)
			add_option(option, &count, LEAVE_LAST, i, goes_on);
	}
	if (!count) {
		end(QUIET);
		return (struct option){ RUN, USERSPACE, 0 };
	}
	return chosen(option, count, 1);
}

/* Whether a store is seen at once, or stays in the actor's buffer. */
static void choose_store(struct actor *actor)
{
	static const struct option option[2] = { { THROUGH }, { DELAY } };

	actor->storing = chosen(option, 2, 2).kind;
}

/* On a stack of its own, so that each actor's state is on the actor's. */
static void scheduler(void)
{
	for (;;) {
		struct option option = { RUN, world.current };

		if (world.actor[world.current].storing)
			choose_store(&world.actor[world.current]);
		else
			option = next_step();

		if (over) {
			world.current = USERSPACE;
		} else if (option.kind == RUN) {
			spent += option.cost;
			if (option.of != world.current) {
				world.current = option.of;
				note(RAN, 0, 0, option.cost, 0);
			}
			world.actor[option.of].wait = NOTHING;
		} else {
			spent += option.cost;
			leave_memory(option.of, leaving(&world.actor[option.of], option.kind == LEAVE_LAST));
			continue;
		}
		explored_switch(&scheduler_pointer, stack_pointer[world.current]);
	}
}

static void *fresh_stack(__u8 *stack, void (*entry)(void))
{
	__u64 *top = (__u64 *)(stack + STACK_BYTES) - 8;

	memset(stack, 0, STACK_BYTES);
	top[6] = (__u64)entry;		/* where explored_switch() returns to */
	return top;
}

#endif
