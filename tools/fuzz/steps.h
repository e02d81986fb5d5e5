/* Doing what the input says, one step after the other. */
#ifndef SPLITVMM_FUZZ_STEPS_H
#define SPLITVMM_FUZZ_STEPS_H

#include "user.h"

static void step(const struct record *record);

/* In the middle of a handler: the step that was to come then, if it is time. */
static void other_cpu(void)
{
	const struct record *record = world.meanwhile;

	if (world.inside != 1 || !record || world.countdown-- > 0)
		return;
	world.countdown = world.again;
	world.meanwhile = world.again ? record : NULL;
	world.inside = 2;
	world.changed = 1;
	say("    meanwhile:");
	step(record);
	world.inside = 1;
}

/* A handler runs, on this CPU or, in the middle of one, on another. */
static enum verdict ring(__u64 value)
{
	struct access access = { .value = value, .width = 4 };
	int outer = world.inside, queue = value < LIVE_QUEUES ? (int)value : -1;
	enum verdict verdict;
	__u32 reason = 0;

	if (!outer)
		watch();
	world.inside = outer ? outer : 1;
	verdict = device_notify(world.device, &access, &reason);
	world.inside = outer;
	say(" -> verdict %d, reason %u\n", verdict, goes_up(verdict) ? reason : 0);
	require(!goes_up(verdict) || reason, "declined without a reason");
	if (!outer)
		check(queue, verdict);
	return verdict;
}

static void step_collect(const struct record *record)
{
	__u32 upcalls = 0, interrupts = 0;
	int error;

	if (!HAS_RINGS || world.inside)
		return;
	host.collections = record->a & 3;
	watch();
	world.inside = 1;
	error = run_collector(EVENT_FD, record->a & 4 ? VM_FD : -1, &upcalls, &interrupts);
	world.inside = 0;
	say(" -> %d, upcalls %#x, interrupts %#x\n", error, upcalls, interrupts);
	check(-1, VERDICT_HANDLED);
	for (int q = 0; q < LIVE_QUEUES; q++)
		if (upcalls >> q & 1 && !(record->a & 8))
			user_serve(q);
}

/* A buffer goes the other way; or it moves to the end of RAM, or of what is below the hole: up to three bytes before
 * or behind it. */
static void spoil(const struct record *record, struct part *part, int parts)
{
	struct part *moved = &part[(record->b >> 24 & 3) % parts];
	__u64 end = record->b >> 28 & 1 ? world.layout.low : gpa_of(world.layout.bytes - 1) + 1;

	if (record->b >> 26 & 1)
		moved->writable ^= 1;
	else
		moved->gpa = end - moved->length + (record->b >> 8 & 7) - 3;
}

/* The last descriptor of a chain moves behind the table, to where `next` must not lead. */
static void move_behind_the_table(int q)
{
	const struct setup *setup = &queue_of(q)->setup;
	const __u16 last = (world.driver[q].slot - 1) & (setup->size - 1), before = (last - 1) & (setup->size - 1);
	struct vring_desc desc = { guest_load(setup->desc + 16 * last, 8), guest_load(setup->desc + 16 * last + 8, 4),
				   guest_load(setup->desc + 16 * last + 12, 2), 0 };

	guest_store(setup->desc + 16 * setup->size, &desc, sizeof(desc));
	guest_store(setup->desc + 16 * before + 14, &setup->size, 2);
}

static void step_request(int q, const struct record *record)
{
	struct part part[MOST_PARTS + 2];
	int times = record->queue & 0x20 ? 32 : 1;

	while (queue_of(q)->setup.ready && times--) {
		int parts = device_request(q, record, part);

		if (record->queue & 0x80)
			spoil(record, part, parts);
		if (!driver_add(q, part, parts, record->queue & 0x10))
			return;
		if (record->queue & 0x40 && !queue_of(q)->setup.packed)
			move_behind_the_table(q);
	}
}

static void step_descriptor(int q, const struct record *record)
{
	enum { ADDRESS = 1 << 30, NO_NEXT = 1 << 29, LONG = 1 << 28, TABLE = 1 << 27, WRITE = 1 << 26 };
	struct driver *driver = &world.driver[q];
	__u32 b = record->b, length = b & 0xffff;
	__u64 gpa = b & ADDRESS ? (__u64)record->a << 48 | record->a : gpa_of(record->a);
	__u16 flags = (b & WRITE ? VRING_DESC_FLAGS_WRITE : 0) | (b & TABLE ? VRING_DESC_FLAGS_INDIRECT : 0);
	int last = b & NO_NEXT || driver_room(q) == 1;

	if (!queue_of(q)->setup.ready || !driver_room(q))
		return;
	ring_descriptor(q, gpa, b & LONG ? length << 16 | length : length, flags, !driver->chained, last);
	driver->chained = !last;
}

/* Anywhere: in what the last request is made of, in the rings, by address. */
static void step_store(int q, const struct record *record)
{
	const struct setup *setup = &queue_of(q)->setup;
	const __u64 places[] = { world.driver[q].last_table + record->a % 2048, world.driver[q].last_buffer + record->a % 32,
				 setup->avail + record->a % 518, setup->used + record->a % 2054,
				 setup->desc + record->a % 4096, record->a, world.layout.high + record->a,
				 world.driver[q].last_table + record->a % 48 };

	guest_store(places[record->queue >> 2 & 7], &record->b, record->queue & 0x80 ? 2 : record->queue & 0x40 ? 1 : 4);
}

static void step_complete(int q, const struct record *record)
{
	enum { WHOLE, SHORT, ERROR, NOTHING, OTHER_SERIAL, ANYTHING, TWICE, ALL };
	__s64 result, most;
	__u64 user_data;
	int which, how = record->queue >> 2 & 7;

	if (!HAS_RINGS)
		return;
	if (ring_of(q)->wiring.polled && !(*word(q, SQ_FLAGS) & 1))
		host_enter(q, 0, 0);
	if (how == ANYTHING)
		complete(q, record->a % 256 | 1ull << 63, record->b);
	if (!world.pendings[q] || how == ANYTHING)
		return;
	which = record->a % world.pendings[q];
	most = world.pending[q][which].most;
	result = how == ALL && record->b & 1 ? -EIO : how == WHOLE || how == ALL || how == TWICE ? most : how == SHORT && most ? record->b % (most + 1) :
		 how == ERROR ? -(__s64)(1 + record->b % 130) : 0;
	user_data = world.pending[q][which].user_data;
	if (how != OTHER_SERIAL)
		finish_pending(q, which, result);
	if (how == OTHER_SERIAL || how == TWICE)
		complete(q, user_data ^ (how == TWICE ? 0 : 1ull << 32), result);
	while (how == ALL && world.pendings[q] && *word(q, CQ_TAIL) - *word(q, CQ_HEAD) < URING_COMPLETIONS)
		finish_pending(q, 0, record->b & 1 ? -EIO : world.pending[q][0].most);
}

static void step_host(int q, const struct record *record)
{
	host.image = record->a % IMAGE_OUTCOMES;
	host.enter_fails = (record->a >> 2 & 3) % 3;
	host.ns_per_look = 100ull << (record->a >> 8 & 7) * 2;
	host.now_ns += record->b;
	if (!HAS_RINGS)
		return;
	*word(q, SQ_FLAGS) = record->a >> 4 & 1;
	if (record->a & 0x20)
		((struct wiring *)&ring_of(q)->wiring)->kicks++;
	if (record->a & 0x40)
		host_enter(q, 0, 1);
}

/* A doorbell while another vCPU has the lock: left to that one, which looks again, or to the looks at it. */
static void step_busy(int q)
{
	struct entry *entry = &queue_of(q)->entry;
	const __u32 left = HAS_RINGS && ring_of(q)->looks.polling ? 1 : 2;

	if (world.inside || entry->active)
		return;
	world.meanwhile = NULL;
	entry->active = entry->rings = 1;
	if (queue_of(q)->ownership.holder == SIDE_KERNEL) {
		require(ring(q) == VERDICT_HANDLED && entry->rings == left, "queue %d: rang while it was locked", q);
		require(!memcmp(&seen[q].position, &queue_of(q)->position, sizeof(struct position)), "served without the lock");
	}
	entry->active = entry->rings = 0;
}

static void step_wish(int q, const struct record *record)
{
	const struct setup *setup = &queue_of(q)->setup;
	__u16 near = queue_of(q)->position.next_used + (__s8)record->a, *what = record->b & 1 ? &near : (__u16 *)&record->a;

	if (setup->packed) {
		__u32 area = *what | record->b >> 8 << 16;

		guest_store(setup->avail, &area, 4);
	} else {
		guest_store(setup->avail + (setup->event_index ? 4 + 2 * setup->size : 0), what, 2);
	}
}

static void step(const struct record *record)
{
	const enum kind kind = record->kind % KINDS;
	const int q = (record->queue & 3) % LIVE_QUEUES;

	say(" %-10s queue %d  flags %#04x  a %#06x  b %#010x", step_names[kind], q, record->queue & ~3, record->a, record->b);
	switch (kind) {
	case STEP_REQUEST: step_request(q, record); break;
	case STEP_DESCRIPTOR: step_descriptor(q, record); break;
	case STEP_STORE: step_store(q, record); break;
	case STEP_AVAIL:
		world.driver[q].avail += (__s8)record->a;
		guest_store(queue_of(q)->setup.avail + 2, &world.driver[q].avail, queue_of(q)->setup.packed ? 0 : 2);
		break;
	case STEP_DOORBELL:
		if (goes_up(ring(record->queue & 0x80 ? record->b : q)) && !world.inside && !(record->queue & 0x40))
			user_serve(q);
		return;
	case STEP_COMPLETE: step_complete(q, record); break;
	case STEP_COLLECT: step_collect(record); return;
	case STEP_SERVE: if (!world.inside) user_serve(q); break;
	case STEP_TAKE: set_holder(q, record->a & 1 && queue_of(q)->setup.ready ? SIDE_KERNEL : SIDE_USER); break;
	case STEP_RESET: if (!world.inside) start_queue(q, record->b, record->b >> 8, record->b >> 16, record->a & 1); break;
	case STEP_DEVICE: device_change(record); break;
	case STEP_HOST: step_host(q, record); break;
	case STEP_BUSY: step_busy(q); break;
	case STEP_WISH: step_wish(q, record); break;
	case STEP_MEANWHILE: case KINDS: break;
	}
	say("\n");
}

#endif
