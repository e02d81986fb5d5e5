/* Virtqueues, kernel side (VIRTIO 1.2, sections 2.6 to 2.8): split or packed, as negotiated. */
#ifndef SPLITVMM_VIRTQUEUE_H
#define SPLITVMM_VIRTQUEUE_H

#include "packed_ring.h"
#include "split_ring.h"

/* At most so many requests waiting, or -1 with a reason; before each but the first, ask
 * avail_more(), as a packed ring does not tell how many. */
__apart __s32 avail_waiting(struct device *device, struct virtqueue *queue, __u32 *reason)
{
	__s32 waiting;

	if (!reason)
		return -1;
	*reason = DECLINE_NOT_READY;
	if (!device || !queue)
		return -1;
	waiting = queue->setup.packed ? packed_waiting(device, queue, reason) :
					      split_waiting(device, queue, reason);

	barrier();	/* requests are read after what makes them available (x86: loads in order) */
	return queue->setup.packed && waiting > 0 ? queue->setup.size : waiting;
}

static __always_inline int avail_more(struct device *device, struct virtqueue *queue)
{
	__u32 reason;

	return !queue->setup.packed || avail_waiting(device, queue, &reason) > 0;
}

/* Start on the next available chain; 0, or a reason. */
__apart __u32 chain_start(struct device *device, struct virtqueue *queue, struct chain *chain)
{
	if (!device || !queue || !chain)
		return DECLINE_NOT_READY;
	chain->table = queue->setup.desc;
	chain->entries = chain->left = queue->setup.size;
	chain->indirect = chain->writable = chain->ended = 0;
	if (!queue->setup.packed)
		return split_start(device, queue, chain);
	packed_start(queue, chain);
	return 0;
}

/* Follow an indirect descriptor (2.7.5.3, 2.8.7): one level, last in its chain, whole entries, all of them in memory,
 * whether or not the chain comes to them: userspace looks at the table as a whole. */
static __always_inline __u32 chain_enter(struct device *device, struct virtqueue *queue, struct chain *chain,
					 const struct vring_desc *desc)
{
	if (chain->indirect || !queue->setup.indirect || desc->flags & VRING_DESC_FLAGS_NEXT ||
	    desc->len == 0 || desc->len % sizeof(*desc))
		return DECLINE_MALFORMED;
	if (!ram_holds(ram_layout(device), desc->addr, desc->len))
		return DECLINE_OUTSIDE_RAM;
	chain->indirect = 1;
	chain->table = desc->addr;
	chain->entries = desc->len / sizeof(*desc);
	chain->left = chain->entries > INDIRECT_LIMIT ? INDIRECT_LIMIT : chain->entries;
	chain->next = 0;
	return 0;
}

/* The descriptors behind this one, which is in a packed ring or a table of one (2.8.6, 2.8.7). */
static __always_inline void packed_step(struct virtqueue *queue, struct chain *chain, __u16 flags)
{
	chain->next++;
	if (chain->indirect) {
		chain->ended = chain->left == 0;
		return;
	}
	if (chain->next == queue->setup.size)
		chain->next = 0;
	chain->ended = !(flags & VRING_DESC_FLAGS_NEXT);
}

/* Next buffer of the chain: 0 with `segment` filled, or with length 0 where the step only
 * entered an indirect table; else a reason. */
__apart __u32 chain_next(struct device *device, struct virtqueue *queue, struct chain *chain,
			 struct segment *segment)
{
	const volatile __u64 *at;
	struct vring_desc desc;
	__u64 low, high;
	__u32 reason;
	int packed;

	if (!device || !queue || !chain || !segment)
		return DECLINE_NOT_READY;
	packed = queue->setup.packed;
	segment->length = 0;
	if (chain->left == 0 || chain->next >= chain->entries)
		return DECLINE_MALFORMED;
	chain->left--;
	at = ram_at(device, chain->table + chain->next * sizeof(desc), sizeof(desc), &reason);
	if (!at)
		return reason;
	low = at[0];
	high = at[1];
	/* a packed ring has flags where a split one has `next`, and the chain's id before them */
	desc = (struct vring_desc){ low, (__u32)high, packed ? high >> 48 : (__u16)(high >> 32),
				    packed ? (__u16)(high >> 32) : high >> 48 };
	if (packed && !chain->indirect) {
		chain->head = desc.next;
		chain->slots++;
	}
	if (desc.flags & VRING_DESC_FLAGS_INDIRECT)
		return chain_enter(device, queue, chain, &desc);
	segment->writable = desc.flags & VRING_DESC_FLAGS_WRITE;
	/* 2.7.4.2: buffers that the device writes come after those that it reads */
	if (desc.len == 0 || (chain->writable && !segment->writable))
		return DECLINE_MALFORMED;
	if (!ram_holds(ram_layout(device), desc.addr, desc.len))
		return DECLINE_OUTSIDE_RAM;
	chain->writable = segment->writable;
	segment->gpa = desc.addr;
	segment->length = desc.len;
	if (packed) {
		packed_step(queue, chain, desc.flags);
	} else {
		chain->next = desc.next;
		chain->ended = !(desc.flags & VRING_DESC_FLAGS_NEXT);
	}
	return 0;
}

/* The chain that was walked is taken on; it is completed now, or later, in any order. */
static __always_inline void avail_take(struct virtqueue *queue, const struct chain *chain)
{
	if (queue->setup.packed)
		queue->position.next_avail = packed_after(queue, queue->position.next_avail, chain->slots);
	else
		queue->position.next_avail++;
}

/* Write a completion, which the driver does not see before used_publish(); 0, or a reason. */
__apart __u32 used_push(struct device *device, struct virtqueue *queue, __u32 head, __u32 slots, __u32 written)
{
	__u32 reason;

	if (!device || !queue)
		return DECLINE_NOT_READY;
	reason = queue->setup.packed ? packed_push(device, queue, head, slots, written) :
					     split_push(device, queue, head, written);

	if (!reason && queue->position.unsignalled < MANY_USED)
		queue->position.unsignalled += queue->setup.packed ? slots : 1;
	return reason;
}

/* Make the completions visible. */
__apart __u32 used_publish(struct device *device, struct virtqueue *queue)
{
	if (!device || !queue)
		return DECLINE_NOT_READY;
	return queue->setup.packed ? packed_publish(device, queue) : split_publish(device, queue);
}

__apart __u32 enable_notify(struct device *device, struct virtqueue *queue)
{
	if (!device || !queue)
		return DECLINE_NOT_READY;
	if (queue->setup.packed)
		packed_enable_notify(device, queue);
	else
		split_enable_notify(device, queue);
	return 0;
}

/* The opposite, until that is asked for again.  With event indices of a split ring, nothing is done: the driver has rung
 * for the place asked for last, and rings again when its index comes by there (2.7.10.1). */
__apart __u32 disable_notify(struct device *device, struct virtqueue *queue)
{
	if (!device || !queue)
		return DECLINE_NOT_READY;
	if (queue->setup.packed)
		packed_disable_notify(device, queue);
	else
		split_disable_notify(device, queue);
	return 0;
}

/* Does the driver want an interrupt for what was used since this was asked last?  The caller has
 * put a full barrier between publishing and this. */
__apart __s32 used_wants_interrupt(struct device *device, struct virtqueue *queue)
{
	__u16 used;

	if (!device || !queue)
		return 0;
	used = queue->position.unsignalled;
	if (used == 0)
		return 0;
	queue->position.unsignalled = 0;
	return queue->setup.packed ? packed_wants_interrupt(device, queue, used) :
				     split_wants_interrupt(device, queue, used);
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
