/* Userspace, as far as the handler sees it: it sets queues up, takes them, does what was left to it, and gives them back. */
#ifndef SPLITVMM_FUZZ_USER_H
#define SPLITVMM_FUZZ_USER_H

#include "check.h"

static void set_holder(int q, enum side side)
{
	struct ownership *ownership = (void *)&queue_of(q)->ownership;

	ownership->holder = side;
	ownership->generation++;
}

static void user_push(int q, __u16 head, __u16 slots, __u32 written)
{
	struct chain_read *chain = world.chain[q];

	for (int i = 0; i < world.taken[q]; i++)
		if (chain[i].head == head && chain[i].slots == slots) {
			memmove(&chain[i], &chain[i + 1], sizeof(*chain) * (--world.taken[q] - i));
			break;
		}
	used_push(world.device, queue_of(q), head, slots, written);
}

/* What is back from the ring, done or not, is used, and its tag let go of. */
static void user_finish(int q, struct tag *tag, __u32 index, __s32 result)
{
	struct uring *ring = ring_of(q);

	if (tag->kind && tag_of_no_chain(tag)) {
		for (; result > 0 && ring->receive.first != ring->receive.end; ring->receive.first++) {
			__u32 at = ring->receive.first % URING_RECEIVE_BUFFERS;

			user_push(q, ring->receive.head[at], ring->receive.slots[at], 0);
			ring->receive.bytes -= ring->receive.iovec[at].length;
			result -= ring->receive.iovec[at].length;
		}
	} else if (tag->kind) {
		user_push(q, tag->head, tag->slots, 0);
	}
	uring_release(ring, tag, index);
}

/* The same of all that came back as one. */
static void user_finish_run(int q, __u32 index, __s32 result)
{
	struct uring *ring = ring_of(q);

	for (__u32 next = index + 1; next; ) {
		index = next - 1;
		next = ring->flight.tag[index].next;
		ring->flight.completed++;
		user_finish(q, &ring->flight.tag[index], index, result);
	}
}

static void user_collect(int q)
{
	struct uring *ring = ring_of(q);
	__u32 index;
	__s32 result;

	while (uring_completions(ring))
		if (uring_take(ring, &index, &result))
			user_finish_run(q, index, result);
	for (index = 0; index < URING_TAGS; index++)
		if (ring->flight.tag[index].state == TAG_STATE_FAILED) {
			ring->flight.failed--;
			user_finish(q, &ring->flight.tag[index], index, -1);
		}
}

/* Serves the queue empty; false if the driver has broken a rule, for which it must reset the device. */
static int user_serve(int q)
{
	struct virtqueue *queue = queue_of(q);
	struct chain_read *chain = waiting_chains(q);
	int waiting;

	if (!queue->setup.ready || queue->entry.active)
		return 1;
	set_holder(q, SIDE_USER);
	if (HAS_RINGS)
		ring_of(q)->looks.polling = 0;
	world.device->memory.element = world.layout.bytes;	/* RAM is in one piece here, whatever its elements */
	if (HAS_RINGS && ring_of(q)->wiring.ready) {
		host_enter(q, 0, 1);
		user_collect(q);
	}
	waiting = read_waiting(q, chain);
	for (int i = 0; i < waiting && chain[i].parts >= 0; i++) {
		queue->position.next_avail = place_after(q, queue->position.next_avail, chain[i].slots);
		used_push(world.device, queue, chain[i].head, chain[i].slots, 0);
	}
	used_publish(world.device, queue);
	enable_notify(world.device, queue);
	queue->position.unsignalled = 0;
	device_served(q);
	world.device->memory = world.layout;
	if (waiting < 0 || (waiting && chain[waiting - 1].parts < 0))
		return 0;
	set_holder(q, SIDE_KERNEL);
	return 1;
}

/* A ring, as after io_uring_setup(2); what was in flight is over. */
static void start_ring(int q, __u8 how)
{
	struct uring *ring = ring_of(q);
	struct wiring *wiring = (void *)&ring->wiring;
	__u32 start = how & WRAPS ? -3u : 0;

	world.pendings[q] = 0;
	*wiring = (struct wiring){ .address = (__u64)ring, .ram = (__u64)world.ram, .sq_head = SQ_HEAD, .sq_tail = SQ_TAIL,
				   .sq_flags = SQ_FLAGS, .cq_head = CQ_HEAD, .cq_tail = CQ_TAIL, .cqes = CQES,
				   .ready = !(how & NO_RING), .polled = !!(how & POLLED), .raises = !(how & RAISES) ? RAISES_NONE : how & LAZY ? RAISES_ALL : RAISES_COLLECTED,
				   .ring_fd = RING_FD + q, .completion_fd = EVENT_FD + q, .one = 1,
				   .lazy_notify = !!(how & LAZY && how & POLLED),
				   .poll_ns = how & POLLED && how & RAISES ? 4000 : 0, .poll_always = !!(how & WRAPS) };
	*word(q, SQ_HEAD) = *word(q, SQ_TAIL) = *word(q, CQ_HEAD) = *word(q, CQ_TAIL) = ring->flight.tail = start;
	*word(q, SQ_FLAGS) = 0;
	ring->flight.window = ring->flight.nop = ring->flight.failed = ring->flight.kicks_seen = 0;
	ring->looks.polling = ring->flight.bells = ring->flight.rest_ns = ring->flight.rested_ns = 0;
	ring->flight.completed = ring->flight.submitted;
	ring->flight.free = URING_TAGS;
	for (__u32 i = 0; i < URING_TAGS; i++) {
		ring->flight.stack[i] = i;
		ring->flight.tag[i].state = TAG_STATE_FREE;
	}
	ring->receive.first = ring->receive.end = ring->receive.bytes = 0;
}

/* Where a queue's rings lie: apart as a rule; one of them across the border of two elements, or of the hole; or one on
 * top of another. */
static void place_rings(int q, struct setup *setup, __u8 places)
{
	enum { APART, DESC, AVAIL, AVAIL_END, USED, USED_END, ON_AVAIL, ON_USED };
	const __u32 size = setup->size, far = places >> 3, base = 0x1000 + q * RING_AREA;
	const __u32 border = world.layout.element < world.layout.bytes || world.layout.low == world.layout.bytes ?
			     ELEMENT_BYTES : LOW_BYTES;
	const __u32 avail_bytes = setup->packed ? 4 : 6 + 2 * size, used_bytes = setup->packed ? 4 : (6 + 8 * size + 3) / 4 * 4;

	setup->desc = base;
	setup->avail = base + 0x1010;
	setup->used = base + 0x1400;
	switch (places & 7) {
	case APART: break;
	case DESC: setup->desc = border - 16 * far; break;
	case AVAIL: setup->avail = border - 4 * far; break;
	case AVAIL_END: setup->avail = border - avail_bytes + 4 * far; break;
	case USED: setup->used = border - 4 * far; break;
	case USED_END: setup->used = border - used_bytes + 4 * far; break;
	case ON_AVAIL: setup->desc = (setup->avail + 16 * far) & ~15ull; break;
	case ON_USED: setup->avail = setup->used + 2 * far; break;
	}
}

/* The driver makes a queue ready; userspace refuses what does not lie in RAM, as vmm/virtqueue/ring.py does. */
static void start_queue(int q, __u8 how, __u8 size, __u8 places, int cause)
{
	struct virtqueue *queue = queue_of(q);
	struct setup *setup = (void *)&queue->setup;
	struct driver *driver = &world.driver[q];
	static const __u8 zeros[6 + 8 * 256 + 16 * 256];
	int packed = !!(how & PACKED);
	__u16 start = packed ? 0x8000 : how & WRAPS ? 0xfffd : 0;

	set_holder(q, SIDE_USER);
	*setup = (struct setup){ .size = packed ? size + 1 : 1 << size % 9, .event_index = !!(how & EVENT_INDEX),
				 .indirect = !!(how & INDIRECT), .packed = packed, .cause = cause ? 0x60 : 0 };
	place_rings(q, setup, places);
	world.taken[q] = 0;
	*driver = (struct driver){ .avail = start };
	queue->position = (struct position){ .next_avail = start, .next_used = start, .shown = packed ? start : 0 };
	if (HAS_RINGS)
		start_ring(q, how);
	if (!is_ram(setup->desc, 16 * setup->size) ||
	    !is_ram(setup->avail, packed ? 4 : 6 + 2 * setup->size) ||
	    !is_ram(setup->used, packed ? 4 : 6 + 8 * setup->size))
		return;
	guest_store(setup->desc, zeros, 16 * setup->size);
	guest_store(setup->avail, zeros, packed ? 4 : 6 + 2 * setup->size);
	guest_store(setup->used, zeros, packed ? 4 : 6 + 8 * setup->size);
	guest_store(setup->avail + 2, packed ? zeros : (void *)&start, 2);
	guest_store(setup->used + 2, packed ? zeros : (void *)&start, 2);
	driver->last_table = setup->desc;
	setup->ready = 1;
	set_holder(q, SIDE_KERNEL);
}

#endif
