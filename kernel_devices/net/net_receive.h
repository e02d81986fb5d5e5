/* Packets that the backend has: read into the driver's buffers, one chain each or as many as it takes. */
#ifndef SPLITVMM_NET_RECEIVE_H
#define SPLITVMM_NET_RECEIVE_H

#include "net_work.h"

/* Post the next chain as a read of its own. */
static __always_inline __u32 post_receive(struct serving *serving, struct tag *tag, __u32 index)
{
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 window = uring->flight.window, reason;

	if (uring_in_flight(uring) >= (window ? window : 1) || !may_read(serving))
		return SERVE_LATER;
	reason = walk_chain(serving, 1, index, NET_DECLINE_FRAMING);
	if (reason)
		return reason;
	if (work->common.walk.first_bytes < NET_HEADER_BYTES || work->common.walk.total < state_of(serving)->port.receive_bytes)
		return NET_DECLINE_SHORT;
	walk_submit(serving, tag, IO_READV, work->common.walk.parts);
	return 0;
}

/* The next chain, which is one buffer, joins the receive buffers, if the largest does not fit yet. */
static __always_inline __u32 add_receive_buffer(struct serving *serving, __u32 index)
{
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 end = uring->receive.end, reason;
	struct uring_iovec buffer;

	if (uring->receive.bytes >= state_of(serving)->port.receive_bytes)
		return SERVE_LATER;
	if (end - uring->receive.first >= URING_RECEIVE_BUFFERS)
		return NET_DECLINE_SHORT;
	reason = walk_chain(serving, 1, index, NET_DECLINE_FRAMING);
	if (reason)
		return reason;
	if (work->common.walk.parts != 1 || work->common.walk.total < NET_HEADER_BYTES)
		return NET_DECLINE_FRAMING;
	buffer = *uring_iovecs(uring, work->common.walk.tag);
	end &= URING_RECEIVE_BUFFERS - 1;
	uring->receive.iovec[end] = buffer;
	uring->receive.iovec[end + URING_RECEIVE_BUFFERS] = buffer;
	uring->receive.gpa[end] = work->common.walk.first;
	uring->receive.head[end] = work->common.walk.chain.head;
	uring->receive.slots[end] = work->common.walk.chain.slots;
	uring->receive.bytes += work->common.walk.total;
	uring->receive.end++;
	avail_take(serving->queue, &work->common.walk.chain);
	return 0;
}

/* One read into all receive buffers, as soon as the largest packet fits. */
static __noinline void after_serving(struct serving *serving)
{
	struct uring *uring = serving->uring;
	__u32 first, index = 0;
	struct tag *tag;
	struct sqe *sqe;

	if (!uring || !uring->wiring.ready || !state_of(serving)->port.merge || serving->index & 1 ||
	    serving->index == state_of(serving)->port.control_queue || uring_in_flight(uring) ||
	    uring->receive.bytes < state_of(serving)->port.receive_bytes || !may_read(serving))
		return;
	tag = uring_tag(uring, &index);
	if (!tag)
		return;
	first = uring->receive.first & (URING_RECEIVE_BUFFERS - 1);
	sqe = uring_entry(uring);
	sqe->off = ~0ull;	/* no file position */
	sqe->opcode = IO_READV;
	sqe->addr = uring->wiring.address + __builtin_offsetof(struct uring, receive.iovec) +
		    (__u64)first * sizeof(struct uring_iovec);
	sqe->len = uring->receive.end - uring->receive.first;
	tag->kind = MERGED;
	serving_commit(serving, tag, index, sqe);
}

/* Whether so many bytes are a packet that may arrive; what the other end of the wire sends is up to that.  A read into
 * buffers of just the largest packet's size does not tell whether there was more of it. */
static __always_inline int may_arrive(struct serving *serving, __s32 length)
{
	return length >= LINK_HEADER_BYTES && length <= (__s32)state_of(serving)->port.receive_bytes;
}

/* Tell the driver in its header how many buffers a packet fills (5.1.6.4): 0, or a reason. */
static __always_inline __u32 tell_buffers(struct serving *serving, __u64 header, __u16 count)
{
	__u32 reason;
	volatile __u16 *buffers = ram_at(serving->device, header + __builtin_offsetof(struct net_header, num_buffers),
					 2, &reason);

	if (!buffers)
		return reason;
	*buffers = count;
	return 0;
}

/* A packet has arrived, in the chain that was posted for it. */
static __always_inline __u32 received(struct serving *serving, struct tag *tag, __s32 result)
{
	struct uring *uring = serving->uring;
	__u32 reason;

	if (!may_arrive(serving, result))
		return DECLINE_IO_FAILED;
	reason = tell_buffers(serving, tag->status, 1);
	if (reason)
		return reason;
	reason = used_push(serving->device, serving->queue, tag->head, tag->slots, result);
	if (reason)
		return reason;
	used_count(serving, result);
	/* as many reads next time as packets came now, twice over: idle reads would all be woken by one */
	if (uring)
		uring->flight.window = serving->work->tally.requests >= MOST_READS / 2 ? MOST_READS :
					2 * serving->work->tally.requests;
	return 0;
}

/* How many buffers `left` bytes fill. */
static long count_buffer(__u32 i, void *context)
{
	struct serving *serving = context;
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u64 length;

	if (!uring || i >= uring->receive.end - uring->receive.first)
		return 1;
	length = uring->receive.iovec[(uring->receive.first + i) & (URING_RECEIVE_BUFFERS - 1)].length;
	work->count = i + 1;
	if (length >= work->left) {
		work->left = 0;
		return 1;
	}
	work->left -= length;
	return 0;
}

/* The first buffer is used. */
static long use_buffer(__u32 i, void *context)
{
	struct serving *serving = context;
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 at, length, written;

	if (!uring)
		return 1;
	at = uring->receive.first & (URING_RECEIVE_BUFFERS - 1);
	length = uring->receive.iovec[at].length;
	written = length < work->left ? length : work->left;
	work->reason = used_push(serving->device, serving->queue, uring->receive.head[at], uring->receive.slots[at], written);
	if (work->reason)
		return 1;
	work->left -= written;
	uring->receive.bytes -= length;
	uring->receive.first++;
	return 0;
}

/* A packet has arrived in the receive buffers: 0, or a reason. */
static __always_inline __u32 received_merged(struct serving *serving, __s32 result)
{
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 reason;

	if (!may_arrive(serving, result) || !uring)
		return DECLINE_IO_FAILED;
	work->left = result;
	work->count = work->reason = 0;
	if (!count_buffer(0, serving)) {	/* which is the usual packet's */
		work->left = result;
		loop(URING_RECEIVE_BUFFERS, count_buffer, serving);
	}
	if (work->left)
		return DECLINE_IO_FAILED;
	reason = tell_buffers(serving, uring->receive.gpa[uring->receive.first & (URING_RECEIVE_BUFFERS - 1)], work->count);
	if (reason)
		return reason;
	work->left = result;
	if (work->count == 1)
		use_buffer(0, serving);
	else
		loop(work->count, use_buffer, serving);
	if (work->reason)
		return work->reason;
	used_count(serving, result);
	return 0;
}

#endif
