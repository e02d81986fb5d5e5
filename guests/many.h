/* Workers of guests/many.c: each keeps one device busy, and does nothing but in its interrupts. */
#ifndef MANY_H
#define MANY_H

#include "virtio.h"

enum { WORKERS = 8, QUEUES = 2, WORKER_BYTES = 4 << 20 };
enum { AREA_RINGS = 0, AREA_HEADERS = 0x10000, AREA_TABLES = 0x20000, AREA_DATA = 0x100000 };	/* of its memory */

struct worker;

/* What one interrupt is about: a queue, or all of them. */
struct source { struct worker *worker; u16 first, count; };

struct kind {
	const char *name;
	u16 queues;
	u64 features;
	void (*begin)(struct worker *worker);		/* the first requests */
	void (*used)(struct worker *worker, struct queue *queue, u32 token, u32 length);
};
extern const struct kind disk_kind, card_kind, console_kind, rng_kind;

struct worker {
	const struct kind *kind;
	struct device *device;
	u32 number;
	struct queue queues[QUEUES];
	struct source sources[QUEUES];
	u64 in_flight;			/* what must come back before it is through */
	u64 sent, received;		/* frames of a card, bytes of a console, requests of others */
	u64 interrupts, empty;		/* `empty`: there was nothing to take */
};

static inline void *area(struct worker *worker, u64 offset)
{
	return (void *)(HEAP + worker->number * (u64)WORKER_BYTES + offset);
}

extern u64 depth, steps, frames, bytes;		/* of the command line */
extern volatile u32 *command;	/* what the host asks for, if it may */
enum { GO_ON, RESTART, FINISH };
static inline int more(u64 done, u64 wanted) { return command ? *command != FINISH : done < wanted; }

#endif
