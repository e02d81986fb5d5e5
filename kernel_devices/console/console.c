/* virtio-console on the exit path (VIRTIO 1.2, section 5.3): one read and one write at a time through
 * the ring, as a stream wants its order kept. */
#include "console.gen.h"
#define QUEUES CONSOLE_QUEUES
#include "../doorbell.h"
#include "../walk.h"

DEVICE_SERVES(struct console_state, struct work)
DEVICE_URINGS(QUEUES)

static __noinline __u32 serve_next(struct serving *serving)
{
	struct uring *uring = serving->uring;
	__u32 receive = serving->index == CONSOLE_RECEIVE, index = 0, reason;
	struct tag *tag;

	if (!uring || !uring->wiring.ready)
		return DECLINE_NO_RING;
	if (uring_in_flight(uring) || (receive && (state_of(serving)->stream.ended || !may_read(serving))))
		return SERVE_LATER;
	tag = uring_tag(uring, &index);
	if (!tag)
		return wait_for_ring(serving);
	reason = walk_chain(serving, receive, index, CONSOLE_DECLINE_FRAMING);
	if (!reason)
		walk_submit(serving, tag, receive ? IO_READV : IO_WRITEV, serving->work->walk.parts);
	return reason;
}

/* What was written in part userspace goes on with, from there. */
static __noinline __u32 complete_one(struct serving *serving, struct tag *tag, __s32 result)
{
	__u32 receive = serving->index == CONSOLE_RECEIVE, reason;

	if (receive && result == 0) {
		state_of(serving)->stream.ended = 1;
		return CONSOLE_DECLINE_ENDED;
	}
	if (result < 0 || (!receive && (__u32)result != tag->wanted)) {
		tag->written = result > 0 ? result : 0;
		return DECLINE_IO_FAILED;
	}
	reason = used_push(serving->device, serving->queue, tag->head, tag->slots, receive ? result : 0);
	if (!reason)
		used_count(serving, result);
	return reason;
}

static __noinline void after_serving(struct serving *serving)
{
	/* the next request waits for the one in flight */
}

DEVICE_HANDLER(doorbell, CONSOLE_LAYOUT_HASH)
DEVICE_COLLECTOR(collect)
