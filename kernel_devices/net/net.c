/* virtio-net on the exit path (VIRTIO 1.2, section 5.1): packets go through the ring between the
 * guest's own buffers and the backend.  Receive buffers are posted as reads, some at a time; where
 * large packets may fill several, one read has room for the largest, and what it does not use is
 * there for the next.  Declined: the control queue, and chains that are odd or too small. */
#include "net_receive.h"
#include "net_transmit.h"

/* The queue's next chain. */
static __noinline __u32 serve_next(struct serving *serving)
{
	struct uring *uring = serving->uring;
	__u32 index = 0;
	struct tag *tag;

	if (serving->index == state_of(serving)->port.control_queue)
		return NET_DECLINE_CONTROL;
	if (!uring || !uring->wiring.ready)
		return DECLINE_NO_RING;
	tag = uring_tag(uring, &index);
	if (!tag)
		return wait_for_ring(serving);
	if (serving->index & 1)
		return transmit(serving, tag, index);
	return state_of(serving)->port.merge ? add_receive_buffer(serving, index) : post_receive(serving, tag, index);
}

static __noinline __u32 complete_one(struct serving *serving, struct tag *tag, __s32 result)
{
	__u32 reason;

	if (tag->kind == IO_READV)
		return received(serving, tag, result);
	if (tag->kind == MERGED)
		return received_merged(serving, result);
	if (result < 0 || (__u32)result != tag->wanted)
		fetch_add(&state_of(serving)->dropped.failed, 1);
	reason = used_push(serving->device, serving->queue, tag->head, tag->slots, 0);
	if (!reason)
		used_count(serving, tag->wanted);
	return reason;
}

DEVICE_HANDLER(doorbell, NET_LAYOUT_HASH)
DEVICE_COLLECTOR(collect)
