/* Counts on the exit path, with a wide window between reading and writing: see counter.py. */
#define WIDEN 2000
#include "ownership.h"
#include "counter.gen.h"

DEVICE_STATE(struct counter_state)
DEVICE_NO_SCRATCH

static __always_inline enum verdict counter_notify(struct device *device, const struct access *access,
						   __u32 *reason)
{
	struct counter_state *state = device_state(device);
	struct counter_page *page = device_page(device);
	__u32 before;

	if (!state || !page)
		return VERDICT_TO_USER;
	switch (access->offset) {
	case COUNTER_INCREMENT:
		before = READ_ONCE(page->count);
		WINDOW();
		WRITE_ONCE(page->count, before + (__u32)access->value);
		state->total.sum += access->value;
		state->control.entry.handled++;
		return VERDICT_HANDLED;
	case COUNTER_LOUD:
		return VERDICT_HANDLED_INTERRUPT;
	case COUNTER_DECLINED:
		*reason = COUNTER_DECLINE_ASKED;
		return VERDICT_TO_USER;
	default:
		return VERDICT_HANDLED;
	}
}

DEVICE_HANDLER(counter_notify, COUNTER_LAYOUT_HASH)
