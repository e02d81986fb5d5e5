/* Working memory of a network queue. */
#ifndef SPLITVMM_NET_WORK_H
#define SPLITVMM_NET_WORK_H

#include "net.gen.h"
#define QUEUES NET_QUEUES
#include "../doorbell.h"
#include "../walk.h"

enum {
	PARTS = WALK_PARTS,
	LINK_HEADER_BYTES = NET_HEADER_BYTES + NET_ETHER_BYTES,
	SOURCE_AT = NET_HEADER_BYTES + 6,
	MOST_READS = 8,	/* in flight on one receive queue */
	MERGED = 0xff,	/* kind of a tag whose read fills the queue's receive buffers */
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

#endif
