/* What must hold when a handler has returned; vmm/sync/PROTOCOL.md says why. */
#ifndef SPLITVMM_FUZZ_CHECK_H
#define SPLITVMM_FUZZ_CHECK_H

#include "driver.h"

enum { MOST_TAKEN = URING_TAGS + URING_RECEIVE_BUFFERS };

/* A queue, before a handler ran. */
struct seen {
	struct ownership ownership;
	struct setup setup;
	struct position position;
	__u64 handled, declined;
	__u32 rings, active;
	int waiting;		/* chains, read_waiting(); they lie behind those that are taken */
};
static struct seen seen[LIVE_QUEUES];

static struct chain_read *waiting_chains(int q)
{
	return world.chain[q] + MOST_TAKEN;
}

static __u64 declines(const struct entry *entry)
{
	__u64 count = 0;

	for (size_t i = 0; i < sizeof(entry->declined) / sizeof(entry->declined[0]); i++)
		count += entry->declined[i];
	return count;
}

static void mark_writable(const struct chain_read *chain)
{
	for (int i = 0; i < chain->parts; i++)
		if (chain->part[i].writable)
			mark(chain->part[i].gpa, chain->part[i].length, MAY_WRITE);
}

/* One of a queue's rings, on which no other may lie for its contents to be checked. */
static QUIET void mark_area(__u64 gpa, __u64 length)
{
	const __u8 *marks = world.marks + flat_of(gpa);

	for (__u64 i = 0; i < length; i++)
		world.changed |= marks[i] & RING;
	mark(gpa, length, RING);
}

static void mark_rings(int q)
{
	const struct setup *setup = &queue_of(q)->setup;
	__u32 size = setup->size;

	if (!setup->ready)
		return;
	mark_area(setup->desc, 16 * size);
	mark_area(setup->avail, setup->packed ? 4 : 6 + 2 * size);
	mark_area(setup->used, setup->packed ? 4 : 6 + 8 * size);
}

/* Before a handler runs: what there is, and what it may do. */
static void watch(void)
{
	world.changed = 0;
	memset(world.marks, 0, world.layout.bytes);
	for (int q = 0; q < LIVE_QUEUES; q++)
		mark_rings(q);
	for (int q = 0; q < LIVE_QUEUES; q++) {
		const struct virtqueue *queue = queue_of(q);

		seen[q] = (struct seen){ queue->ownership, queue->setup, queue->position, queue->entry.handled,
					 declines(&queue->entry), queue->entry.rings, queue->entry.active, 0 };
		if (queue->setup.ready)
			seen[q].waiting = read_waiting(q, waiting_chains(q));
		for (int i = 0; i < world.taken[q]; i++) {
			world.changed |= world.chain[q][i].parts < 0;
			mark_writable(&world.chain[q][i]);
		}
		for (int i = 0; i < seen[q].waiting; i++)
			mark_writable(&waiting_chains(q)[i]);
	}
	memcpy(world.before, world.ram, world.layout.bytes);
}

/* The device may write this part of a ring, having done what leads to that. */
static void allow(__u64 gpa, __u64 length)
{
	__u8 *marks = world.marks + flat_of(gpa);

	while (length--)
		*marks++ |= MAY_WRITE;
}

/* A chain that was taken is used: it is one that the driver made available, once. */
static __u16 use_chain(int q, __u32 id, __u32 written)
{
	struct chain_read *chain = world.chain[q];
	int i = 0, of_this_head = -1;

	while (i < world.taken[q] && (chain[i].head != id || chain[i].room < written)) {
		of_this_head = chain[i].head == id ? i : of_this_head;
		i++;
	}
	i = i < world.taken[q] ? i : of_this_head;	/* a bad driver has several of one head */
	require(i >= 0, "queue %d: chain %u is used, and is not in flight", q, id);
	require(written <= chain[i].room, "queue %d: chain %u is used with %u bytes; the device may write %llu of it",
		q, id, written, chain[i].room);
	id = chain[i].slots;
	memmove(&chain[i], &chain[i + 1], sizeof(*chain) * (--world.taken[q] - i));
	return id;
}

/* The ring as the driver finds it: what was taken on and used, and no more than that. */
static int check_rings(int q)
{
	const struct virtqueue *queue = queue_of(q);
	const struct setup *setup = &queue->setup;
	__u16 at = seen[q].position.next_avail, place;
	int pushed = 0;

	for (int i = 0; at != queue->position.next_avail; i++) {
		require(i < seen[q].waiting && waiting_chains(q)[i].parts >= 0,
			"queue %d: next_avail is %#x, behind what is available or well-formed", q, queue->position.next_avail);
		require(world.taken[q] < MOST_TAKEN, "queue %d: %d chains are in flight", q, world.taken[q]);
		at = place_after(q, at, waiting_chains(q)[i].slots);
		world.chain[q][world.taken[q]++] = waiting_chains(q)[i];
	}
	for (at = seen[q].position.next_used; at != queue->position.next_used; pushed++) {
		__u64 entry;

		place = setup->packed ? at & 0x7fff : at & (setup->size - 1);
		entry = setup->packed ? setup->desc + 16 * place : setup->used + 4 + 8 * place;
		require(pushed < MOST_TAKEN, "queue %d: next_used is %#x, beyond what was in flight", q, queue->position.next_used);
		if (setup->packed) {
			__u16 flags = guest_load(entry + 14, 2) & 0x8080;

			require(flags == (at & 0x8000 ? 0x8080 : 0), "queue %d: flags %#x of used descriptor %u", q, flags, place);
		}
		at = place_after(q, at, use_chain(q, setup->packed ? guest_load(entry + 12, 2) : guest_load(entry, 4),
						  guest_load(entry + (setup->packed ? 8 : 4), 4)));
		allow(setup->packed ? entry + 4 : entry, setup->packed ? 12 : 8);
	}
	if (!setup->packed && pushed)
		require((__u16)guest_load(setup->used + 2, 2) == queue->position.next_used, "queue %d: the used index is %llu; "
			"wanted %u", q, guest_load(setup->used + 2, 2), queue->position.next_used);
	return pushed;
}

/* Every byte that differs lies where the device may write. */
static QUIET void check_memory(void)
{
	const __u64 *now = (void *)world.ram, *before = (void *)world.before;

	for (__u64 i = 0; i < world.layout.bytes / 8; i++)
		for (__u64 at = 8 * i; now[i] != before[i] && at < 8 * i + 8; at++)
			require(world.ram[at] == world.before[at] || world.marks[at] & MAY_WRITE,
				"the handler wrote at %#llx, which is not the device's to write", gpa_of(at));
}

/* Tags are free, flying or failed, each once. */
static void check_tags(int q)
{
	struct flight *flight = &ring_of(q)->flight;
	__u32 count[3] = {}, listed[URING_TAGS] = {};

	for (int i = 0; i < URING_TAGS; i++) {
		require(flight->tag[i].state <= TAG_STATE_FAILED, "queue %d: tag %d is in state %u", q, i, flight->tag[i].state);
		count[flight->tag[i].state]++;
	}
	require(flight->free == count[TAG_STATE_FREE] && flight->failed == count[TAG_STATE_FAILED],
		"queue %d: free %u, failed %u; of the tags %u and %u are", q, flight->free, flight->failed,
		count[TAG_STATE_FREE], count[TAG_STATE_FAILED]);
	require(flight->submitted - flight->completed == count[TAG_STATE_FLYING], "queue %d: %llu submitted and %llu completed; "
		"%u fly", q, flight->submitted, flight->completed, count[TAG_STATE_FLYING]);
	for (__u32 i = 0; i < flight->free; i++) {
		__u16 index = flight->stack[i];

		require(index < URING_TAGS && flight->tag[index].state == TAG_STATE_FREE && !listed[index]++,
			"queue %d: stack[%u] is tag %u, not free or there twice", q, i, index);
	}
	require(!ring_of(q)->looks.polling || flight->nop, "queue %d: no doorbell is asked for, and nobody looks", q);
	require(ring_of(q)->receive.end - ring_of(q)->receive.first <= URING_RECEIVE_BUFFERS, "queue %d: receive buffers %u to %u",
		q, ring_of(q)->receive.first, ring_of(q)->receive.end);
}

static int count_slots(void *context, __u16 head, __u16 slots)
{
	(void)head;
	*(__u32 *)context += slots;
	return 1;
}

/* This chain is in flight; what it is made of is not known. */
static int keep_chain(void *context, __u16 head, __u16 slots)
{
	const int q = *(int *)context;

	struct chain_read *chain = &world.chain[q][world.taken[q]++];

	chain->head = head;
	chain->slots = slots;
	chain->parts = -1;
	chain->room = 0;
	return 1;
}

/* Chains that are in flight, after the ring has changed in ways that were not followed. */
static void follow_chains(int q)
{
	world.taken[q] = 0;
	each_in_flight(q, keep_chain, &q);
	for (int p = 0; p < world.pendings[q]; p++)
		world.pending[q][p].fresh = 0;
}

/* Positions are as far apart as what is in flight. */
static void check_positions(int q)
{
	const struct virtqueue *queue = queue_of(q);
	__u32 slots = 0, apart = (__u16)(queue->position.next_avail - queue->position.next_used), size = queue->setup.size;

	each_in_flight(q, count_slots, &slots);
	if (queue->setup.packed) {
		apart = packed_line(queue, queue->position.next_avail) - packed_line(queue, queue->position.next_used);
		require((apart - slots) % (2 * size) == 0 || (apart + 2 * size - slots) % (2 * size) == 0,
			"queue %d: next_avail %#x, next_used %#x; %u places are in flight", q, queue->position.next_avail,
			queue->position.next_used, slots);
		require(queue->position.shown == queue->position.next_used, "queue %d: shown %#x; used %#x", q,
			queue->position.shown, queue->position.next_used);
		return;
	}
	require(apart == (__u16)slots, "queue %d: next_avail %u, next_used %u; %u are in flight", q, queue->position.next_avail,
		queue->position.next_used, slots);
}

/* Buffers that the kernel was given are those of their chain, and go its way. */
static void check_submitted(int q)
{
	for (int p = 0; p < world.pendings[q]; p++) {
		struct pending *pending = &world.pending[q][p];
		int into = pending->opcode == IO_READ || pending->opcode == IO_READV;
		__u32 index = pending->user_data;

		if (!pending->fresh || index >= URING_TAGS || !pending->parts)
			continue;
		pending->fresh = 0;
		for (int i = 0; i < pending->parts; i++) {
			const struct iovec *part = &pending->part[i];
			int found = !in_ram(part->iov_base, 0) || !part->iov_len;

			for (int c = 0; c < world.taken[q] && !found; c++)
				for (int k = 0; k < world.chain[q][c].parts && !found; k++) {
					const struct part *of = &world.chain[q][c].part[k];
					__u64 at = (__u8 *)part->iov_base - world.ram - flat_of(of->gpa);

					found = !!of->writable == into && at <= of->length && part->iov_len <= of->length - at;
				}
			require(found, "queue %d: the kernel is given %zu bytes at %#llx, of no such buffer in flight", q,
				part->iov_len, gpa_of((__u8 *)part->iov_base - world.ram));
		}
	}
}

/* A handler that was not told to go on has told somebody to, or there is nothing to do. */
static void check_nothing_is_forgotten(int q)
{
	const struct virtqueue *queue = queue_of(q);
	struct uring *ring = ring_of(q);
	int waiting, changed = world.changed;

	if (!queue->setup.ready || queue->ownership.holder != SIDE_KERNEL || device_may_wait(q))
		return;
	waiting = read_waiting(q, waiting_chains(q));
	world.changed = changed;
	require(!waiting || (HAS_RINGS && (ring->flight.nop || uring_in_flight(ring))),
		"queue %d: handled, and %d requests wait for nobody", q, waiting);
}

static void check_entry(int q)
{
	const struct entry *entry = &queue_of(q)->entry;

	require(entry->active == seen[q].active, "queue %d: %u handlers inside; wanted %u", q, entry->active, seen[q].active);
	require(!(entry->sequence & 1), "queue %d: its counters are said to move", q);
	require(entry->rings == 0 || entry->rings == seen[q].rings + 1 || entry->rings == seen[q].rings,
		"queue %d: rings is %u; wanted the lock let go of, or left to who has it", q, entry->rings);
	require(entry->rings == 0 || seen[q].rings, "queue %d: rings is %u; wanted the lock let go of", q, entry->rings);
	require(!memcmp(&seen[q].setup, (void *)&queue_of(q)->setup, sizeof(seen[q].setup)), "queue %d: its setup changed", q);
}

/* After a handler: `rung` is the queue of its doorbell, or -1 for a collection. */
static void check(int rung, enum verdict verdict)
{
	for (int q = 0; q < LIVE_QUEUES; q++) {
		const struct virtqueue *queue = queue_of(q);
		int pushed = 0;

		check_entry(q);
		if (HAS_RINGS)
			check_tags(q);
		if (!queue->setup.ready)
			continue;
		if (world.changed)
			follow_chains(q);
		else
			pushed = check_rings(q);
		check_positions(q);
		if (HAS_RINGS)
			check_submitted(q);
		if (!world.changed) {
			require(queue->entry.handled - seen[q].handled <= (__u64)pushed, "queue %d: %llu handled; %d used", q,
				queue->entry.handled - seen[q].handled, pushed);
			allow(queue->setup.used, 4);
			if (!queue->setup.packed)
				allow(queue->setup.used + 4 + 8 * queue->setup.size, 2);
		}
		if (q == rung && !goes_up(verdict) && !seen[q].rings && !world.changed)
			check_nothing_is_forgotten(q);
		if (q == rung && !world.changed)
			require(declines(&queue->entry) - seen[q].declined == goes_up(verdict),
				"queue %d: verdict %d, and %llu declines were counted", q, verdict,
				declines(&queue->entry) - seen[q].declined);
	}
	if (!world.changed)
		check_memory();
}

#endif
