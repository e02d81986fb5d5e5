/* Packets that the driver sends: filtered, limited, and written to the backend. */
#ifndef SPLITVMM_NET_TRANSMIT_H
#define SPLITVMM_NET_TRANSMIT_H

#include "net_work.h"

/* May something that takes `cost` at the limit go now?  `due` is when all before it would be through.
 * Several queues ask at once: each puts its own cost on it, and takes that back if it was too much.
 * What alone is more than a burst goes when nothing is due. */
static __always_inline int meter(__u64 *due, __u64 cost, __u64 now, __u64 burst)
{
	__u64 before = READ_ONCE(*due);

	if (before < now)	/* the time that nobody used is gone; another queue's packet may have seen to it */
		compare_exchange(due, before, now);
	before = fetch_add(due, cost);
	if (before <= now || before + cost - now <= burst)
		return 1;
	fetch_add(due, -cost);
	return 0;
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
	if (work->common.walk.total < LINK_HEADER_BYTES || work->common.walk.total > NET_LARGEST_PACKET)
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

#endif
