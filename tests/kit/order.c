/* See order.py. */
#include "order.gen.h"
#include "device.h"

static __u32 bell(struct order *order, __u64 value)
{
	WRITE_ONCE(order->page->seen, value);
	return DONE;
}

static __u32 kick(struct order *order, __u32 value)
{
	return value && value < ORDER_DECLINE_ALWAYS ? value : ORDER_DECLINE_ALWAYS;
}

static __u32 far(struct order *order, __u32 value)
{
	return ORDER_DECLINE_ALWAYS;
}

DEVICE(ON(ORDER_BELL, bell) ON(ORDER_KICK, kick) ON(ORDER_FAR, far))
