/* The rings as the specification has them, read without the handler's help. */
#ifndef SPLITVMM_FUZZ_MODEL_H
#define SPLITVMM_FUZZ_MODEL_H

#include "world.h"

enum { MAY_WRITE = 1, RING = 2 };	/* marks of a byte of RAM: of a buffer that the device may write; of a ring */
#define QUIET	__attribute__((no_sanitize("address", "undefined", "coverage")))	/* large loops that are no handler's */

/* A buffer that the device may write on top of a ring changes what the ring says while it is served: then only what
 * does not depend on the ring is checked, as where the guest writes meanwhile. */
static QUIET void mark(__u64 gpa, __u64 length, __u8 bit)
{
	const __u64 each = 0x0101010101010101;
	__u8 *marks = world.marks + flat_of(gpa), *end = marks + length;
	__u64 seen = 0, word;

	if (marks[0] == bit && marks[length - 1] == bit && length > RAM_BYTES)
		return;		/* once more the same large buffer */
	for (; end - marks >= 8; marks += 8) {
		__builtin_memcpy(&word, marks, 8);
		seen |= word;
		word |= bit * each;
		__builtin_memcpy(marks, &word, 8);
	}
	for (; marks < end; marks++) {
		seen |= *marks;
		*marks |= bit;
	}
	if (seen & (MAY_WRITE | RING) * each & ~(bit * each))
		world.changed = 1;
}

static __u16 place_after(int q, __u16 position, __u16 slots)
{
	__u16 size = queue_of(q)->setup.size, place = (position & 0x7fff) + slots;

	if (!queue_of(q)->setup.packed)
		return position + 1;
	return place < size ? (position & 0x8000) | place : ((position & 0x8000) ^ 0x8000) | (place - size);
}

/* Adds a buffer; false if a chain may not have it (2.7.4.2, 2.7.5). */
static int read_part(struct chain_read *chain, __u64 gpa, __u32 length, int writable)
{
	struct part *before = chain->parts ? &chain->part[chain->parts - 1] : NULL;

	if (!length || chain->parts == MOST_PARTS || !is_ram(gpa, length) ||
	    (before && before->writable && !writable))
		return 0;
	chain->part[chain->parts++] = (struct part){ gpa, length, writable };
	chain->room += writable ? length : 0;
	return 1;
}

/* The chain at this place of the queue; its `parts` are -1 if it breaks a rule. */
static void read_chain(int q, __u16 position, struct chain_read *chain)
{
	const struct setup *setup = &queue_of(q)->setup;
	__u64 table = setup->desc;
	__u32 entries = setup->size, left = entries, next, length, indirect = 0;
	__u16 flags, other, packed = setup->packed;

	next = packed ? position & 0x7fff : guest_load(setup->avail + 4 + 2 * (position & (setup->size - 1)), 2);
	chain->head = next;
	chain->slots = !packed;
	chain->parts = chain->room = 0;
	while (left-- && next < entries && is_ram(table + 16 * next, 16)) {
		mark(table + 16 * next, 16, RING);
		length = guest_load(table + 16 * next + 8, 4);
		other = guest_load(table + 16 * next + (packed ? 12 : 14), 2);
		flags = guest_load(table + 16 * next + (packed ? 14 : 12), 2);
		if (packed && !indirect) {
			chain->head = other;
			chain->slots++;
		}
		if (flags & VRING_DESC_FLAGS_INDIRECT) {
			if (indirect || !setup->indirect || flags & VRING_DESC_FLAGS_NEXT || !length || length % 16)
				break;
			table = guest_load(table + 16 * next, 8);
			entries = left = length / 16;
			indirect = 1;
			next = 0;
			continue;
		}
		if (!read_part(chain, guest_load(table + 16 * next, 8), length, !!(flags & VRING_DESC_FLAGS_WRITE)))
			break;
		if (packed && indirect ? !left : !(flags & VRING_DESC_FLAGS_NEXT))
			return;
		next = !packed ? other : indirect ? next + 1 : (next + 1) % entries;
	}
	chain->parts = -1;
}

/* Is there a request at this place of a packed ring (2.8.1)? */
static int packed_available(int q, __u16 position)
{
	__u16 flags = guest_load(queue_of(q)->setup.desc + 16 * (position & 0x7fff) + 14, 2);

	return !(flags & 0x80) == !(position & 0x8000) && !(flags & 0x8000) != !(position & 0x8000);
}

/* The chains that wait, up to the first that breaks a rule; -1 if more are available than the queue holds. */
static int read_waiting(int q, struct chain_read *list)
{
	const struct setup *setup = &queue_of(q)->setup;
	__u16 position = queue_of(q)->position.next_avail, waiting = setup->size;
	int count = 0;

	if (!setup->packed) {
		waiting = guest_load(setup->avail + 2, 2) - position;
		if (waiting > setup->size)
			return -1;
	}
	while (count < waiting && (!setup->packed || packed_available(q, position))) {
		read_chain(q, position, &list[count]);
		position = place_after(q, position, list[count].slots);
		if (list[count++].parts < 0)
			break;
	}
	return count;
}

/* Requests of the driver's that the queue's ring has, failed ones included: called back for each. */
static int each_in_flight(int q, int (*found)(void *context, __u16 head, __u16 slots), void *context)
{
	struct uring *ring = ring_of(q);
	int count = 0;

	for (int i = 0; HAS_RINGS && i < URING_TAGS; i++) {
		struct tag *tag = &ring->flight.tag[i];

		if (tag->state != TAG_STATE_FREE && tag->kind && !tag_of_no_chain(tag))
			count += found(context, tag->head, tag->slots);
	}
	for (__u32 n = ring->receive.first; HAS_RINGS && n != ring->receive.end; n++)
		count += found(context, ring->receive.head[n % URING_RECEIVE_BUFFERS],
			       ring->receive.slots[n % URING_RECEIVE_BUFFERS]);
	return count;
}

#endif
