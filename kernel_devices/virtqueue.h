/* Split virtqueues, kernel side (VIRTIO 1.2, section 2.7).
 *
 * The guest wrote every byte read here and may be writing it still: each field is read once,
 * checked, and used from the copy.  Nothing is written to the rings before a request is whole. */
#ifndef SPLITVMM_VIRTQUEUE_H
#define SPLITVMM_VIRTQUEUE_H

#include "ownership.h"

enum { AVAIL_NO_INTERRUPT = 1 };	/* 2.7.6 */

/* Walk of one chain; lives in scratch memory, whose contents the verifier takes as unknown. */
struct chain {
	__u64 table;		/* guest-physical */
	__u32 entries;		/* of the table */
	__u32 left;		/* descriptors it may still have: it cannot loop */
	__u32 next;
	__u32 indirect;		/* inside an indirect table */
	__u32 writable;		/* a device-writable buffer has been seen */
	__u32 ended;
};

struct segment {
	__u64 gpa;
	__u32 length;		/* bytes */
	__u32 writable;
};

static __always_inline int ring_read16(struct device *device, __u64 gpa, __u16 *value, __u32 *reason)
{
	const volatile __u16 *at = ram_at(device, gpa, 2, reason);

	if (!at)
		return -1;
	*value = *at;
	return 0;
}

static __always_inline int ring_write16(struct device *device, __u64 gpa, __u16 value, __u32 *reason)
{
	volatile __u16 *at = ram_at(device, gpa, 2, reason);

	if (!at)
		return -1;
	*at = value;
	return 0;
}

/* Requests waiting, or -1 with a reason.  More than the ring holds is a broken driver. */
static __always_inline __s32 avail_waiting(struct device *device, struct virtqueue *queue, __u32 *reason)
{
	__u16 index, waiting;

	if (ring_read16(device, queue->setup.avail + 2, &index, reason))
		return -1;
	waiting = index - queue->position.next_avail;
	if (waiting > queue->setup.size) {
		*reason = DECLINE_MALFORMED;
		return -1;
	}
	barrier();	/* entries are read after the index that covers them (x86: loads in order) */
	return waiting;
}

/* Start on the next available chain; 0, or a reason. */
static __always_inline __u32 chain_start(struct device *device, struct virtqueue *queue,
				       struct chain *chain, __u16 *head)
{
	__u16 size = queue->setup.size;
	__u32 reason;

	if (ring_read16(device, queue->setup.avail + 4 +
			2 * (queue->position.next_avail & (size - 1)), head, &reason))
		return reason;
	if (*head >= size)
		return DECLINE_MALFORMED;
	chain->table = queue->setup.desc;
	chain->entries = chain->left = size;
	chain->next = *head;
	chain->indirect = chain->writable = chain->ended = 0;
	return 0;
}

/* Follow an indirect descriptor (2.7.5.3): one level, alone in its chain, whole entries. */
static __always_inline __u32 chain_enter(struct virtqueue *queue, struct chain *chain,
				       const struct vring_desc *desc)
{
	if (chain->indirect || !queue->setup.indirect || desc->flags & VRING_DESC_FLAGS_NEXT ||
	    desc->len == 0 || desc->len % sizeof(*desc))
		return DECLINE_MALFORMED;
	chain->indirect = 1;
	chain->table = desc->addr;
	chain->entries = desc->len / sizeof(*desc);
	chain->left = chain->entries > 65536 ? 65536 : chain->entries;	/* `next` reaches no further */
	chain->next = 0;
	return 0;
}

/* Next buffer of the chain: 0 with `segment` filled, or with length 0 where the step only
 * entered an indirect table; else a reason. */
static __always_inline __u32 chain_next(struct device *device, struct virtqueue *queue,
				      struct chain *chain, struct segment *segment)
{
	const volatile __u64 *at;
	struct vring_desc desc;
	__u64 low, high;
	__u32 reason;

	segment->length = 0;
	if (chain->left == 0 || chain->next >= chain->entries)
		return DECLINE_MALFORMED;
	chain->left--;
	at = ram_at(device, chain->table + chain->next * sizeof(desc), sizeof(desc), &reason);
	if (!at)
		return reason;
	low = at[0];
	high = at[1];
	desc = (struct vring_desc){ low, (__u32)high, (__u16)(high >> 32), (__u16)(high >> 48) };
	if (desc.flags & VRING_DESC_FLAGS_INDIRECT)
		return chain_enter(queue, chain, &desc);
	segment->writable = desc.flags & VRING_DESC_FLAGS_WRITE;
	/* 2.7.4.2: buffers that the device writes come after those that it reads */
	if (desc.len == 0 || (chain->writable && !segment->writable))
		return DECLINE_MALFORMED;
	if (!ram_holds(ram_layout(device), desc.addr, desc.len))
		return DECLINE_OUTSIDE_RAM;
	chain->writable = segment->writable;
	segment->gpa = desc.addr;
	segment->length = desc.len;
	chain->next = desc.next;
	chain->ended = !(desc.flags & VRING_DESC_FLAGS_NEXT);
	return 0;
}

/* The request that chain_start() found is taken on; it is completed now, or later, in any order. */
static __always_inline void avail_take(struct virtqueue *queue)
{
	queue->position.next_avail++;
}

/* Write a completion, not yet visible to the driver; 0, or a reason. */
static __always_inline __u32 used_push(struct device *device, struct virtqueue *queue, __u16 head,
				     __u32 written)
{
	__u16 place = queue->position.next_used & (queue->setup.size - 1);
	__u32 reason;
	volatile __u32 *elem = ram_at(device, queue->setup.used + 4 +
				      sizeof(struct vring_used_elem) * place,
				      sizeof(struct vring_used_elem), &reason);

	if (!elem)
		return reason;
	elem[0] = head;
	elem[1] = written;
	queue->position.next_used++;
	return 0;
}

/* Make the completions visible (2.7.8): entries first, then the index. */
static __always_inline __u32 used_publish(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	barrier();
	return ring_write16(device, queue->setup.used + 2, queue->position.next_used, &reason) ? reason : 0;
}

/* With event index (2.7.10): ask for a doorbell at the next entry. */
static __always_inline void avail_event_write(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	if (queue->setup.event_index)
		ring_write16(device, queue->setup.used + 4 +
			     sizeof(struct vring_used_elem) * queue->setup.size,
			     queue->position.next_avail, &reason);
}

/* Does the driver want an interrupt for what was used since the last one (2.7.7)?
 * The caller has put a full barrier between publishing and this. */
static __always_inline int used_wants_interrupt(struct device *device, struct virtqueue *queue)
{
	__u16 now = queue->position.next_used, before = queue->position.signalled, event = 0, flags = 0;
	int valid = queue->position.signalled_valid;
	__u32 reason;

	if (now == before)
		return 0;
	queue->position.signalled = now;
	queue->position.signalled_valid = 1;
	if (queue->setup.event_index) {
		if (ring_read16(device, queue->setup.avail + 4 + 2 * queue->setup.size, &event, &reason))
			return 1;
		return !valid || (__u16)(now - event - 1) < (__u16)(now - before);
	}
	if (ring_read16(device, queue->setup.avail, &flags, &reason))
		return 1;
	return !(flags & AVAIL_NO_INTERRUPT);
}

/* The cause of the interrupt, for the driver to read, where the transport has a register for that
 * (virtio-mmio, 4.2.2). */
static __always_inline void interrupt_cause(struct device *device, const struct virtqueue *queue)
{
	__u32 offset = queue->setup.cause & (PAGE_BYTES - 4);
	void *page = device_page(device);

	if (page && offset)
		fetch_or((__u32 *)(page + offset), CAUSE_USED_BUFFER);
}

#endif
