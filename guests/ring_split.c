/* Split rings (VIRTIO 1.2, 2.7). */
#include "virtio.h"

enum { NO_INTERRUPT = 1, NO_NOTIFY = 1 };	/* 2.7.6, 2.7.8 */

static volatile u16 *used_event(struct queue *queue) { return &queue->avail->ring[queue->size]; }
static volatile u16 *avail_event(struct queue *queue) { return (volatile u16 *)&queue->used->elem[queue->size]; }

static void start(struct queue *queue)
{
	(void)queue;	/* all zeros is how it starts */
}

static u16 flags_of(const struct buffer *buffer, int more)
{
	return (buffer->write ? WRITE : 0) | (more ? NEXT : 0);
}

static void put(struct queue *queue, const struct buffer *buffers, u32 count, u32 token, struct desc *table)
{
	u16 head = queue->free, at = head;

	for (u32 i = 0; i < count; i++) {
		volatile struct desc *desc = table ? &table[i] : &queue->desc[at];

		*desc = (struct desc){ buffers[i].addr, buffers[i].len, flags_of(&buffers[i], i + 1 < count),
				       table ? i + 1 : queue->link[at] };
		if (!table)
			at = queue->link[at];
	}
	if (table) {
		queue->desc[head] = (struct desc){ (u64)table, count * sizeof(*table), INDIRECT, 0 };
		at = queue->link[head];
	}
	queue->free = at;
	queue->chain[head] = table ? 1 : count;
	queue->room -= queue->chain[head];
	queue->token[head] = token;
	queue->avail->ring[queue->next++ % queue->size] = head;
}

static int show(struct queue *queue)
{
	u16 before = queue->avail->idx;

	if (before == queue->next)
		return 0;
	barrier();		/* entries before the index that shows them; x86 keeps the order of writes */
	queue->avail->idx = queue->next;
	full_barrier();		/* the index before what is read now (2.7.13.4.1) */
	return queue->event ? passed(*avail_event(queue), queue->next, before) : !(queue->used->flags & NO_NOTIFY);
}

static int waiting(struct queue *queue)
{
	return queue->used->idx != queue->last;
}

static int take(struct queue *queue, u32 *token, u32 *length)
{
	u32 head, tail;

	if (!waiting(queue))
		return 0;
	barrier();
	head = queue->used->elem[queue->last % queue->size].id;
	*length = queue->used->elem[queue->last % queue->size].len;
	queue->last++;
	if (head >= queue->size || !queue->chain[head])
		fail("used entry", head, queue->size);
	tail = head;
	for (u16 left = queue->chain[head]; left > 1; left--)
		tail = queue->link[tail];
	queue->link[tail] = queue->free;
	queue->free = head;
	queue->room += queue->chain[head];
	queue->chain[head] = 0;
	*token = queue->token[head];
	return 1;
}

static void listen(struct queue *queue)
{
	queue->avail->flags = 0;
	*used_event(queue) = queue->last;
}

/* With the event index the flag means nothing (2.7.7.1): the event is as far off as can be. */
static void quiet(struct queue *queue)
{
	queue->avail->flags = queue->event ? 0 : NO_INTERRUPT;
	*used_event(queue) = queue->last - 1;
}

const struct ring split_ring = { start, put, show, take, listen, quiet, waiting };
