/* Packed rings, kernel side (VIRTIO 1.2, section 2.8); the counterpart of vmm/virtqueue/packed_ring.py.
 *
 * A position is a place in the ring, with the wrap counter in bit 15. */
#ifndef SPLITVMM_PACKED_RING_H
#define SPLITVMM_PACKED_RING_H

#include "ring.h"

enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15, PACKED_WRAP = 1 << 15 };	/* 2.8.1 */
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_AT_DESCRIPTOR };			/* 2.8.10 */
enum { FLAGS_AT = 14 };			/* in a descriptor */

static __always_inline __u16 packed_place(__u16 position)
{
	return position & (PACKED_WRAP - 1);
}

/* So many places on; at the end of the ring the wrap counter turns. */
static __always_inline __u16 packed_after(const struct virtqueue *queue, __u16 position, __u16 slots)
{
	__u16 place = packed_place(position) + slots, wrap = position & PACKED_WRAP;

	if (place < queue->setup.size)
		return wrap | place;
	return (wrap ^ PACKED_WRAP) | (place - queue->setup.size);
}

/* 1 if there is a request, 0 if not, -1 with a reason. */
static __always_inline __s32 packed_waiting(struct device *device, struct virtqueue *queue, __u32 *reason)
{
	__u16 position = queue->position.next_avail, flags;

	if (ring_read16(device, queue->setup.desc + sizeof(struct vring_desc) * packed_place(position) + FLAGS_AT,
			&flags, reason))
		return -1;
	return !(flags & PACKED_AVAIL) == !(position & PACKED_WRAP) &&
	       !(flags & PACKED_USED) != !(position & PACKED_WRAP);
}

static __always_inline void packed_start(struct virtqueue *queue, struct chain *chain)
{
	chain->head = chain->slots = 0;
	chain->next = packed_place(queue->position.next_avail);
}

/* A completion.  The first one's flags are kept back: drivers look at used descriptors in order, so
 * that they see none of them until it is published. */
static __always_inline __u32 packed_push(struct device *device, struct virtqueue *queue, __u16 head, __u16 slots,
					 __u32 written)
{
	__u16 position = queue->position.next_used;
	__u32 reason;
	volatile __u16 *desc = ram_at(device, queue->setup.desc + sizeof(struct vring_desc) * packed_place(position),
				      sizeof(struct vring_desc), &reason);
	__u16 flags = (position & PACKED_WRAP ? PACKED_AVAIL | PACKED_USED : 0) |
		      (written ? VRING_DESC_FLAGS_WRITE : 0);

	if (!desc)
		return reason;
	WRITE_ONCE(*(volatile __u32 *)(desc + 4), written);
	WRITE_ONCE(desc[6], head);
	if (queue->position.shown == position) {
		queue->position.shown_flags = flags;
	} else {
		barrier();	/* flags last (2.8.21.1) */
		WRITE_ONCE(desc[7], flags);
	}
	queue->position.next_used = packed_after(queue, position, slots);
	return 0;
}

static __always_inline __u32 packed_publish(struct device *device, struct virtqueue *queue)
{
	__u16 shown = queue->position.shown;
	__u32 reason;

	if (shown == queue->position.next_used)
		return 0;
	queue->position.shown = queue->position.next_used;
	barrier();
	return ring_write16(device, queue->setup.desc + sizeof(struct vring_desc) * packed_place(shown) + FLAGS_AT,
			    queue->position.shown_flags, &reason) ? reason : 0;
}

/* Say when a doorbell is wanted: the place, and in the upper half the kind of event, in one word. */
static __always_inline void packed_ask(struct device *device, struct virtqueue *queue, __u32 event)
{
	__u32 reason;
	volatile __u32 *area = ram_at(device, queue->setup.used, 4, &reason);

	if (area)
		WRITE_ONCE(*area, event);
}

static __always_inline void packed_enable_notify(struct device *device, struct virtqueue *queue)
{
	packed_ask(device, queue, queue->setup.event_index ?
		   queue->position.next_avail | (__u32)EVENT_AT_DESCRIPTOR << 16 : EVENT_ENABLE);
}

static __always_inline void packed_disable_notify(struct device *device, struct virtqueue *queue)
{
	packed_ask(device, queue, (__u32)EVENT_DISABLE << 16);
}

/* Positions on a line that goes round twice the ring. */
static __always_inline __u32 packed_line(const struct virtqueue *queue, __u16 position)
{
	return packed_place(position) + (position & PACKED_WRAP ? 0 : queue->setup.size);
}

/* Does the driver want an interrupt for the last `used` places (2.8.10)? */
static __always_inline int packed_wants_interrupt(struct device *device, struct virtqueue *queue, __u16 used)
{
	__u32 reason, event, around = 2 * queue->setup.size, since;
	const volatile __u32 *area = ram_at(device, queue->setup.avail, 4, &reason);

	if (!area)
		return 1;
	event = READ_ONCE(*area);
	if ((event >> 16 & 3) != EVENT_AT_DESCRIPTOR || !queue->setup.event_index)
		return (event >> 16 & 3) != EVENT_DISABLE;
	since = packed_line(queue, queue->position.next_used) + around - packed_line(queue, event) - 1;
	if (since >= around)
		since -= around;
	return since < used;
}

#endif
