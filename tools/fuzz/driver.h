/* The driver: it makes chains available, most of them good ones. */
#ifndef SPLITVMM_FUZZ_DRIVER_H
#define SPLITVMM_FUZZ_DRIVER_H

#include "ring.h"

static void store_descriptor(__u64 at, __u64 gpa, __u32 length, __u16 low, __u16 high)
{
	struct vring_desc desc = { gpa, length, low, high };

	guest_store(at, &desc, sizeof(desc));
}

static int driver_room(int q)
{
	const struct virtqueue *queue = queue_of(q);
	struct driver *driver = &world.driver[q];
	__u16 size = queue->setup.size, used = driver->avail - queue->position.next_used;

	if (queue->setup.packed) {
		used = (driver->avail & 0x7fff) - (queue->position.next_used & 0x7fff);
		if ((driver->avail ^ queue->position.next_used) & 0x8000)
			used += size;
	}
	return used > size ? 0 : size - used;
}

static void split_add(int q, __u16 head)
{
	const struct setup *setup = &queue_of(q)->setup;
	struct driver *driver = &world.driver[q];
	__u16 next = driver->avail + 1;

	guest_store(setup->avail + 4 + 2 * (driver->avail & (setup->size - 1)), &head, 2);
	guest_store(setup->avail + 2, &next, 2);
	driver->avail = next;
}

/* One descriptor of the ring, at the driver's place in it; `last` of a chain. */
static void ring_descriptor(int q, __u64 gpa, __u32 length, __u16 flags, int first, int last)
{
	const struct setup *setup = &queue_of(q)->setup;
	struct driver *driver = &world.driver[q];
	__u16 at = setup->packed ? driver->avail & 0x7fff : driver->slot;

	flags |= last ? 0 : VRING_DESC_FLAGS_NEXT;
	if (first) {
		driver->first = at;
		driver->last_table = setup->desc + 16 * at;
	}
	if (!setup->packed) {
		driver->slot = (at + 1) & (setup->size - 1);
		store_descriptor(setup->desc + 16 * at, gpa, length, flags, driver->slot);
		if (last)
			split_add(q, driver->first);
		return;
	}
	flags |= driver->avail & 0x8000 ? PACKED_AVAIL : PACKED_USED;
	if (first) {		/* its flags go last (2.8.6) */
		driver->first_flags = flags;
		flags ^= PACKED_AVAIL | PACKED_USED;
	}
	store_descriptor(setup->desc + 16 * at, gpa, length, at, flags);
	driver->avail = place_after(q, driver->avail, 1);
	if (last)
		guest_store(setup->desc + 16 * driver->first + FLAGS_AT, &driver->first_flags, 2);
}

/* Make a chain of these buffers available, if the ring has room for it. */
static int driver_add(int q, const struct part *part, int parts, int indirect)
{
	const struct setup *setup = &queue_of(q)->setup;
	__u64 table = parts > 8 ? 0x800 : 128 * (world.driver[q].avail % 16);
	int room = driver_room(q);

	indirect |= parts > setup->size / 2;
	if (world.driver[q].chained || !parts || room < (indirect && setup->indirect ? 1 : parts))
		return 0;
	for (int i = 0; i < parts && indirect && setup->indirect; i++)
		store_descriptor(table + 16 * i, part[i].gpa, part[i].length,
				 setup->packed ? 0 : part[i].writable * 2 + (i + 1 < parts),
				 setup->packed ? part[i].writable * 2 : i + 1);
	world.driver[q].last_buffer = part[0].gpa;
	if (indirect && setup->indirect) {
		ring_descriptor(q, table, 16 * parts, VRING_DESC_FLAGS_INDIRECT, 1, 1);
		world.driver[q].last_table = table;
		return 1;
	}
	for (int i = 0; i < parts; i++)
		ring_descriptor(q, part[i].gpa, part[i].length, part[i].writable * 2, i == 0, i + 1 == parts);
	return 1;
}

/* Parts of a run of RAM, `parts` of them, `length` bytes each. */
static int spread(struct part *part, int parts, __u64 flat, __u32 length, int writable)
{
	for (int i = 0; i < parts; i++) {
		if (flat + length > world.layout.bytes)
			flat = DATA + 0x400;
		part[i] = (struct part){ gpa_of(flat), length, writable };
		flat += length;
	}
	return parts;
}

#endif
