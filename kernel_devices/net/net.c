/* virtio-net on the exit path (VIRTIO 1.2, section 5.1): packets go through the ring between the
 * guest's own buffers and the backend.  Receive buffers are posted as reads, some at a time; where
 * large packets may fill several, one read has room for the largest, and what it does not use is
 * there for the next.  Declined: the control queue, and chains that are odd or too small. */
#include "net.gen.h"
#define QUEUES NET_QUEUES
#include "../doorbell.h"
#include "../walk.h"

enum {
	PARTS = WALK_PARTS,
	LINK_HEADER_BYTES = NET_HEADER_BYTES + NET_ETHER_BYTES,
	SOURCE_AT = NET_HEADER_BYTES + 6,
	MOST_READS = 8,	/* in flight on one receive queue */
	MERGED = 0xff,	/* kind of a tag whose read fills the queue's room */
	NS_PER_S = 1000000000,
};

/* Working memory of one queue. */
struct net_work {
	struct work common;
	__u32 left;		/* bytes of a packet that are still to be told of */
	__u32 count;		/* buffers that it fills */
	__u32 reason;		/* why they could not be used, or 0 */
};

DEVICE_SERVES(struct net_state, struct net_work)
DEVICE_URINGS(QUEUES)

/* May something that takes `cost` at the limit go now?  `due` is when all before it would be through. */
static __always_inline int meter(__u64 *due, __u64 cost, __u64 now, __u64 burst)
{
	__u64 before = READ_ONCE(*due), start = before > now ? before : now;

	if (start + cost - now > burst)
		return 0;
	/* lost to another queue's packet: that one is counted, ours goes free */
	compare_exchange(due, before, start + cost);
	return 1;
}

/* The transmit filter; what the driver can change meanwhile is copied first. */
static __always_inline __u64 *refusal(struct serving *serving)
{
	struct net_state *state = state_of(serving);
	struct net_work *work = work_of(serving);
	__u64 now;

	if (!state->port.link_up)
		return &state->dropped.link_down;
	if (!state->port.packets_per_s && !state->port.bytes_per_s)
		return NULL;
	now = now_ns();
	if (state->port.packets_per_s && !meter(&state->meter.packets_ns, NS_PER_S / state->port.packets_per_s,
						now, state->port.burst_ns))
		return &state->dropped.limited;
	if (state->port.bytes_per_s && !meter(&state->meter.bytes_ns, (work->common.walk.total - NET_HEADER_BYTES) * NS_PER_S /
					      state->port.bytes_per_s, now, state->port.burst_ns))
		return &state->dropped.limited;
	return NULL;
}

/* Put a copy of the packet's headers in the place of the driver's, and look at that.  0, a reason, or
 * SERVE_LATER for a packet that must not be sent. */
static __always_inline __u32 check_source(struct serving *serving)
{
	const struct net_port *port = &state_of(serving)->port;
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	struct uring_iovec *list = uring_iovecs(uring, work->common.walk.tag);
	__u8 *copy = (__u8 *)&list[URING_SEGMENTS - 2];	/* of which no list is so long */
	const __u16 *source, *mac;
	const __u8 *from;
	__u32 reason;

	if (work->common.walk.first_bytes < LINK_HEADER_BYTES || work->common.walk.parts >= PARTS)
		return NET_DECLINE_FRAMING;
	from = ram_at(serving->device, work->common.walk.first, LINK_HEADER_BYTES, &reason);
	if (!from)
		return reason;
	__builtin_memcpy(copy, from, LINK_HEADER_BYTES);
	source = (const __u16 *)(copy + SOURCE_AT);	/* even, and no more than that */
	mac = (const __u16 *)port->mac;
	return source[0] == mac[0] && source[1] == mac[1] && source[2] == mac[2] ? 0 : SERVE_LATER;
}

/* The list's first buffer becomes two: the copy, and what follows it. */
static __always_inline __u32 replace_headers(struct serving *serving)
{
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	struct uring_iovec *list = uring_iovecs(uring, work->common.walk.tag);
	__u32 i;

	for (i = PARTS; i > 0; i--)
		list[i] = list[i - 1];
	list[0].base = uring_iovec_address(uring, work->common.walk.tag) + sizeof(struct uring_iovec) * (URING_SEGMENTS - 2);
	list[0].length = LINK_HEADER_BYTES;
	list[1].base += LINK_HEADER_BYTES;
	list[1].length -= LINK_HEADER_BYTES;
	return work->common.walk.parts + 1;
}

/* A packet that is not sent is used all the same (5.1.6.2.1). */
static __always_inline __u32 drop(struct serving *serving, __u64 *count)
{
	struct net_work *work = work_of(serving);
	__u32 reason = used_push(serving->device, serving->queue, work->common.walk.chain.head, work->common.walk.chain.slots, 0);

	if (reason)
		return reason;
	fetch_add(count, 1);
	avail_take(serving->queue, &work->common.walk.chain);
	used_count(serving, 0);
	return 0;
}

static __always_inline __u32 transmit(struct serving *serving, struct tag *tag, __u32 index)
{
	struct net_state *state = state_of(serving);
	struct net_work *work = work_of(serving);
	__u32 reason = walk_chain(serving, 0, index, NET_DECLINE_FRAMING), buffers;
	__u64 *count;

	if (reason)
		return reason;
	if (work->common.walk.total < LINK_HEADER_BYTES)
		return NET_DECLINE_FRAMING;
	buffers = work->common.walk.parts;
	if (state->port.anti_spoof) {
		reason = check_source(serving);
		if (reason == SERVE_LATER)
			return drop(serving, &state->dropped.spoofed);
		if (reason)
			return reason;
		buffers = replace_headers(serving);
	}
	count = refusal(serving);
	if (count)
		return drop(serving, count);
	walk_submit(serving, tag, IO_WRITEV, buffers);
	return 0;
}

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

/* The next chain, which is one buffer, becomes room for packets, if the largest does not fit yet. */
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

/* One read into all the room that there is, as soon as the largest packet fits. */
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
	uring_commit(uring, tag, index, sqe);
}

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
		return uring_in_flight(uring) ? SERVE_LATER : DECLINE_BUSY;
	if (serving->index & 1)
		return transmit(serving, tag, index);
	return state_of(serving)->port.merge ? add_receive_buffer(serving, index) : post_receive(serving, tag, index);
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

	if (result < NET_HEADER_BYTES)
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

/* A packet has arrived in the room for it: 0, or a reason. */
static __always_inline __u32 received_merged(struct serving *serving, __s32 result)
{
	struct net_work *work = work_of(serving);
	struct uring *uring = serving->uring;
	__u32 reason;

	if (result < NET_HEADER_BYTES || !uring)
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
