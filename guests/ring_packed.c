/* Packed rings (VIRTIO 1.2, 2.8). */
#include "virtio.h"

enum { AVAIL = 1 << 7, USED = 1 << 15, WRAP = 1 << 15 };	/* 2.8.1; of a position in an event area, 2.8.10 */
enum { ENABLE, DISABLE, AT_DESCRIPTOR };			/* 2.8.10 */

static void start(struct queue *queue)
{
	queue->next_wrap = queue->last_wrap = 1;
}

static void after(struct queue *queue, u16 *place, u16 *wrap, u16 count)
{
	*place += count;
	if (*place >= queue->size)
		*place -= queue->size, *wrap ^= 1;
}

static u16 flags_of(const struct buffer *buffer, int more)
{
	return (buffer->write ? WRITE : 0) | (more ? NEXT : 0);
}

/* One descriptor.  The flags of the first one that is not shown yet are kept back: devices take
 * descriptors in order, so that they see none of those after it, either. */
static void add(struct queue *queue, u64 addr, u32 len, u16 flags, u16 id)
{
	volatile struct packed_desc *slot = &queue->slots[queue->next];

	flags |= queue->next_wrap ? AVAIL : USED;
	slot->addr = addr;
	slot->len = len;
	slot->id = id;
	if (queue->added++) {
		barrier();	/* flags last (2.8.21.1) */
		slot->flags = flags;
	} else {
		queue->held = queue->next;
		queue->held_flags = flags;
	}
	after(queue, &queue->next, &queue->next_wrap, 1);
}

static void put(struct queue *queue, const struct buffer *buffers, u32 count, u32 token, struct desc *table)
{
	u16 id = queue->free;

	if (table) {
		struct packed_desc *slots = (struct packed_desc *)table;

		for (u32 i = 0; i < count; i++)		/* in order, without NEXT (2.8.7) */
			slots[i] = (struct packed_desc){ buffers[i].addr, buffers[i].len, 0, flags_of(&buffers[i], 0) };
		add(queue, (u64)table, count * sizeof(*slots), INDIRECT, id);
	} else {
		for (u32 i = 0; i < count; i++)
			add(queue, buffers[i].addr, buffers[i].len, flags_of(&buffers[i], i + 1 < count), id);
	}
	queue->free = queue->link[id];
	queue->chain[id] = table ? 1 : count;
	queue->room -= queue->chain[id];
	queue->token[id] = token;
}

/* Has the device asked for a doorbell at one of the last `added` descriptors?  Places are counted from
 * the start of this round; where the event's wrap counter is the other one, it is of the round before. */
static int wants_bell(struct queue *queue, u16 added)
{
	u16 flags = queue->device_event->flags & 3, position = queue->device_event->position;
	u16 event = position & (WRAP - 1);

	if (flags != AT_DESCRIPTOR || !queue->event)
		return flags != DISABLE;
	if (!(position & WRAP) == !!queue->next_wrap)
		event -= queue->size;
	return passed(event, queue->next, queue->next - added);
}

static int show(struct queue *queue)
{
	u16 added = queue->added;

	if (!added)
		return 0;
	barrier();
	queue->slots[queue->held].flags = queue->held_flags;
	queue->added = 0;
	full_barrier();		/* the descriptor before what is read now (2.8.21.3) */
	return wants_bell(queue, added);
}

static int waiting(struct queue *queue)
{
	u16 flags = queue->slots[queue->last].flags;

	return !(flags & AVAIL) == !(flags & USED) && !(flags & USED) == !queue->last_wrap;
}

static int take(struct queue *queue, u32 *token, u32 *length)
{
	u16 id;

	if (!waiting(queue))
		return 0;
	barrier();
	id = queue->slots[queue->last].id;
	*length = queue->slots[queue->last].len;
	if (id >= queue->size || !queue->chain[id])
		fail("used id", id, queue->size);
	after(queue, &queue->last, &queue->last_wrap, queue->chain[id]);
	queue->room += queue->chain[id];
	queue->chain[id] = 0;
	queue->link[id] = queue->free;
	queue->free = id;
	*token = queue->token[id];
	return 1;
}

static void listen(struct queue *queue)
{
	queue->driver_event->position = queue->last | (queue->last_wrap ? WRAP : 0);
	barrier();
	queue->driver_event->flags = queue->event ? AT_DESCRIPTOR : ENABLE;
}

static void quiet(struct queue *queue)
{
	queue->driver_event->flags = DISABLE;
}

const struct ring packed_ring = { start, put, show, take, listen, quiet, waiting };
