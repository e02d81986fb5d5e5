/* Split rings, kernel side (VIRTIO 1.2, section 2.7); the counterpart of vmm/virtqueue/split_ring.py. */
#ifndef SPLITVMM_SPLIT_RING_H
#define SPLITVMM_SPLIT_RING_H

#include "ring.h"

enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };	/* 2.7.6, 2.7.8 */

/* Requests waiting, or -1 with a reason.  More than the ring holds is a broken driver. */
static __always_inline __s32 split_waiting(struct device *device, struct virtqueue *queue, __u32 *reason)
{
	__u16 index, waiting;

	if (ring_read16(device, queue->setup.avail + 2, &index, reason))
		return -1;
	waiting = index - queue->position.next_avail;
	if (waiting > queue->setup.size) {
		*reason = DECLINE_MALFORMED;
		return -1;
	}
	return waiting;
}

/* Head of the next chain; 0, or a reason. */
static __always_inline __u32 split_start(struct device *device, struct virtqueue *queue, struct chain *chain)
{
	__u16 size = queue->setup.size, head;
	__u32 reason;

	if (ring_read16(device, queue->setup.avail + 4 + 2 * (queue->position.next_avail & (size - 1)),
			&head, &reason))
		return reason;
	if (head >= size)
		return DECLINE_MALFORMED;
	chain->head = chain->next = head;
	chain->slots = 1;
	return 0;
}

/* A completion, which the driver sees when it is published; 0, or a reason. */
static __always_inline __u32 split_push(struct device *device, struct virtqueue *queue, __u16 head, __u32 written)
{
	__u16 place = queue->position.next_used & (queue->setup.size - 1);
	__u32 reason;
	volatile __u32 *elem = ram_at(device, queue->setup.used + 4 + sizeof(struct vring_used_elem) * place,
				      sizeof(struct vring_used_elem), &reason);

	if (!elem)
		return reason;
	WRITE_ONCE(elem[0], head);
	WRITE_ONCE(elem[1], written);
	queue->position.next_used++;
	return 0;
}

/* Entries first, then the index that covers them (2.7.8). */
static __always_inline __u32 split_publish(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	barrier();
	return ring_write16(device, queue->setup.used + 2, queue->position.next_used, &reason) ? reason : 0;
}

/* Ask for a doorbell at the next entry: by the event index (2.7.10), or by flags (2.7.8). */
static __always_inline void split_enable_notify(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	if (queue->setup.event_index)
		ring_write16(device, queue->setup.used + 4 + sizeof(struct vring_used_elem) * queue->setup.size,
			     queue->position.next_avail, &reason);
	else
		ring_write16(device, queue->setup.used, 0, &reason);
}

static __always_inline void split_disable_notify(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	if (!queue->setup.event_index)
		ring_write16(device, queue->setup.used, USED_NO_NOTIFY, &reason);
}

/* Does the driver want an interrupt for the last `used` entries (2.7.7)? */
static __always_inline int split_wants_interrupt(struct device *device, struct virtqueue *queue, __u16 used)
{
	__u16 event, flags;
	__u32 reason;

	if (queue->setup.event_index) {
		if (ring_read16(device, queue->setup.avail + 4 + 2 * queue->setup.size, &event, &reason))
			return 1;
		return (__u16)(queue->position.next_used - event - 1) < used;
	}
	if (ring_read16(device, queue->setup.avail, &flags, &reason))
		return 1;
	return !(flags & AVAIL_NO_INTERRUPT);
}

#endif
