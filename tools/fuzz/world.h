/* All that a handler has: guest memory, its state, register page and io_urings, with red zones around them. */
#ifndef SPLITVMM_FUZZ_WORLD_H
#define SPLITVMM_FUZZ_WORLD_H

#include "hooks.h"
#include <sanitizer/asan_interface.h>

enum {
	LIVE_QUEUES = QUEUES < 3 ? QUEUES : 3,	/* those that the driver sets up */
	RAM_BYTES = 64 << 10, LARGE_RAM_BYTES = 576 << 10,	/* the second holds more than two CHUNKs */
	LOW_BYTES = 36 << 10,		/* below the hole, if there is one */
	ELEMENT_BYTES = 56 << 10,	/* what is behind that lies in another element, if there are two */
	HIGH_START = 0x10000,		/* where RAM goes on behind the hole; in units of 64 KiB, to stay in 32 bits */
	RED_ZONE = 4096,
	RING_AREA = 0x2000,		/* of one queue's rings; the first lies behind page 0 */
	DATA = 0x1000 + 3 * RING_AREA,	/* buffers, and indirect tables */
	SIZES = 257,
	MOST_PARTS = 128,		/* buffers of a chain: no handler takes more */
	PENDING = 256,
};
#define HIGH	((__u64)HIGH_START << 16)
#define IMAGE	0x7f0000000000ull	/* where the image is mapped, as far as anyone is told */

/* A chain, as the harness reads it. */
struct part {
	__u64 gpa;
	__u32 length, writable;
};
struct chain_read {
	__u16 head, slots;
	int parts;	/* -1: the chain breaks a rule, or is longer than any handler takes */
	__u64 room;	/* bytes that the device may write */
	struct part part[MOST_PARTS];
};

/* The driver's side of a queue. */
struct driver {
	__u16 avail, slot;		/* of a packed ring: the place and its wrap counter; the next free slot */
	__u64 last_table, last_buffer;	/* of the last request: what a STORE finds */
	int chained;			/* DESCRIPTOR has begun a chain, whose head is */
	__u16 first;
	__u16 first_flags;
};

/* What the kernel has of a queue's ring. */
struct pending {
	__u64 user_data;
	__u8 opcode, silent, fresh;
	__s64 most;		/* what it returns if all goes well */
	int parts;
	struct iovec part[SIZES];
};

struct world {
	struct device *device;
	__u8 *page;
	void *urings;
	__u8 *ram;			/* behind a red zone, and before one */
	__u8 *before;			/* RAM, before a handler ran */
	__u8 *marks;			/* of each byte of RAM: MAY_WRITE, RING */
	struct memory_layout layout;
	struct driver driver[LIVE_QUEUES];
	int pendings[LIVE_QUEUES];
	struct pending *pending[LIVE_QUEUES];	/* PENDING of them */
	int taken[LIVE_QUEUES];		/* chains that the handler has taken on, and not used */
	struct chain_read *chain[LIVE_QUEUES];	/* SIZES of those, then of those that wait */
	int inside;			/* handlers; 2 where one comes in the middle of another */
	int changed;			/* something came in the middle of a handler */
	const struct record *meanwhile;	/* what is to come, after so many accesses */
	int countdown, again;		/* and after as many again, if `again` */
};
static struct world world;
static STATE *state;

static struct virtqueue *queue_of(int q)
{
	return &state->queue[q];
}

static __attribute__((unused)) struct uring *ring_of(int q)
{
	return (void *)((__u8 *)world.urings + (size_t)q * URING_STRIDE);
}

/* A block of memory of its own, between red zones. */
static void *block(size_t bytes)
{
	void *at = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);

	if (!at)
		abort();
	memset(at, 0, bytes);
	ASAN_POISON_MEMORY_REGION((__u8 *)at + (bytes + 7) / 8 * 8, -(bytes + 7) / 8 * 8 % PAGE_BYTES);
	return at;
}

/* Where in the guest a run of RAM is. */
static __u64 gpa_of(__u64 flat)
{
	return flat < world.layout.low ? flat : flat - world.layout.low + world.layout.high;
}

/* Whether a run of guest-physical addresses is RAM from end to end, and where it lies then; apart from the handlers'
 * own answer. */
static int is_ram(__u64 gpa, __u64 length)
{
	const __u64 low = world.layout.low, above = world.layout.bytes - low;

	if (gpa >= HIGH)
		return gpa - HIGH <= above && length <= above - (gpa - HIGH);
	return gpa <= low && length <= low - gpa;
}

static __u64 flat_of(__u64 gpa)
{
	return gpa < HIGH ? gpa : gpa - HIGH + world.layout.low;
}

/* Whether a run of the process's memory is guest RAM. */
static int in_ram(const void *at, __u64 length)
{
	__u64 offset = (const __u8 *)at - world.ram;

	return (const __u8 *)at >= world.ram && offset <= world.layout.bytes && length <= world.layout.bytes - offset;
}

/* The guest writes; what is no RAM stays as it is. */
static void guest_store(__u64 gpa, const void *from, __u32 length)
{
	if (!is_ram(gpa, length))
		return;
	memcpy(world.ram + flat_of(gpa), from, length);
	world.changed |= world.inside;
}

static __u64 guest_load(__u64 gpa, __u32 length)
{
	__u64 value = 0;

	if (is_ram(gpa, length))
		memcpy(&value, world.ram + flat_of(gpa), length);
	return value;
}

#endif
